"""`python -m compliance.runners.program` is the same as `assay-runner`."""

import sys

from compliance.runners.program.cli import main

sys.exit(main())
