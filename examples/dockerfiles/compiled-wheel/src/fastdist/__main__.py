"""``python -m fastdist kitten sitting``."""

import sys
from pathlib import Path

from fastdist import _distance, distance

if len(sys.argv) != 3:
    sys.exit("usage: python -m fastdist TEXT TEXT")
print(f"{distance(*sys.argv[1:])}, counted by {Path(_distance.__file__).name}")
