"""Both servers until the input ends or SIGTERM asks for the end; their addresses as one line of JSON."""

import json
import signal
import sys

from tests.servers import services

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit())
    folder, durable = sys.argv[1], "--durable" in sys.argv
    with services(folder, durable=durable, keep=True) as running:
        sys.stdout.write(json.dumps(running.environment()) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
