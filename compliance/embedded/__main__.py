"""python -m compliance.embedded run"""

import argparse
import sys

from compliance.embedded.folder import EmbeddedError, data_lock
from compliance.embedded.plan import plan_from_environment
from compliance.embedded.supervisor import Supervisor, say


def run() -> None:
    plan = plan_from_environment()
    with data_lock(plan.data_dir, address=plan.site_url):
        programs = plan.programs()
        if [program for program in reversed(programs) if program.end_leftovers()]:  # they may listen where we want to
            say("Ended what an earlier start had left behind.")
        plan.check()
        Supervisor().run(programs, on_ready=plan.ready_message)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m compliance.embedded")
    parser.add_argument("command", choices=["run"], help="all of Assay on this machine (PORT, DATA_DIR)")
    parser.parse_args()
    try:
        run()
    except EmbeddedError as error:
        sys.exit(str(error))  # to the standard error output, with status 1
    except OSError as error:  # a full disk above all; the supervisor has stopped what it had started
        sys.exit(f"Assay has stopped: {error}. When that is put right, start it again; it goes on from there.")
