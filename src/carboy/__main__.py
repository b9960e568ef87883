"""``python -m carboy`` is the same as ``carboy``."""

import sys

from carboy.cli.main import main

sys.exit(main())
