"""What all workers of a run share is made by the first that wants it."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def made_once(base: Path, name: str) -> Iterator[Path]:
    """Hold the lock of ``name`` and give the path of its record, which is there when another worker made the thing."""
    with (base / f"{name}.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield base / f"{name}.json"
