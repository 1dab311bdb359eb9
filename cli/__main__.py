"""``python -m diffsmooth.cli``."""

import sys

from diffsmooth.cli import main

sys.exit(main())
