"""`make chaos`: break everything that may break for a while, let it settle, and look what the record says.

The seed decides the plan. --folder keeps the logs. Exit code 1 with the rows when something is wrong.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import NoReturn


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long (600)")
    parser.add_argument("--seed", type=int, help="which plan; else any")
    parser.add_argument("--folder", type=Path, help="where logs and state go, and stay; else a temporary one")
    parser.add_argument("--plan", action="store_true", help="print what the seed plans, and do nothing")
    options = parser.parse_args()
    seed = random.randrange(1_000_000) if options.seed is None else options.seed
    say(f"SEED={seed} SECONDS={options.seconds:g}")
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.chaos.settings"

    from tests.chaos.disturber import plan

    deeds = plan(seed, options.seconds)
    if options.plan:
        say("\n".join(map(str, deeds)))
        return 0
    signal.signal(signal.SIGTERM, _end)
    from tests.chaos.stage import set_up

    with ExitStack() as stack:
        folder = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assay-chaos-")))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            parser.error(f"{folder} is not empty")
        stage = stack.enter_context(set_up(folder.resolve()))
        # Only now is there a database that settings can name.
        os.environ.update(stage.environment)
        os.environ["DATABASE_URL"] += "?application_name=people.0"
        import django

        django.setup()
        from tests.chaos.play import play

        return play(stage, deeds, seconds=options.seconds, seed=seed, say=say)


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _end(number: int, frame: object) -> NoReturn:
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main())
