"""`python -m compliance.runners.program` is the same as `assay-runner`."""

import sys

from .cli import main

sys.exit(main())
