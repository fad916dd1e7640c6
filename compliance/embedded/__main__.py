"""python -m compliance.embedded run | services DIRECTORY"""

import argparse
import json
import signal
import sys
from pathlib import Path

from compliance.embedded.errors import EmbeddedError
from compliance.embedded.lock import data_lock
from compliance.embedded.plan import plan_from_environment
from compliance.embedded.servers import services
from compliance.embedded.supervisor import STOP_SIGNALS, Supervisor, say


def run() -> None:
    plan = plan_from_environment()
    with data_lock(plan.data_dir, address=plan.site_url):
        supervisor = Supervisor(plan.data_dir)
        supervisor.end_leftovers()  # they may listen where we want to
        plan.check()
        supervisor.run(plan.children(), on_ready=plan.ready_message)


def serve(data_dir: Path, *, durable: bool, keep: bool) -> None:
    """Both servers until the input ends or a signal asks for the end; their addresses as one line of JSON."""

    def stop(number: int, frame: object) -> None:
        for each in STOP_SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        sys.exit()

    for number in STOP_SIGNALS:
        signal.signal(number, stop)
    with services(data_dir, durable=durable, keep=keep or durable) as running:
        say(json.dumps(running.environment()))
        sys.stdin.read()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m compliance.embedded")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="all of Assay on this machine (PORT, DATA_DIR)")
    only = commands.add_parser("services", help="PostgreSQL and Redis only, until the input ends")
    only.add_argument("data_dir", type=Path)
    only.add_argument("--durable", action="store_true", help="keep the data, and write them safely")
    only.add_argument("--keep", action="store_true", help="keep the data, without waiting for the disk")
    arguments = parser.parse_args()
    try:
        if arguments.command == "run":
            run()
        else:
            serve(arguments.data_dir, durable=arguments.durable, keep=arguments.keep)
    except EmbeddedError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
