"""Files of the cache, laid out under the names that a tool looks for."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.store.store import Store


@contextmanager
def open_links(store: Store, files: Sequence[tuple[str, str]]) -> Iterator[str]:
    """Give a folder that has the files (name, path) under their names, for as long as the block runs. Raises ``CarboyError``."""
    with store.layers.ingest_dir() as place, translate_os_errors("lay the packages out"):
        folder = f"{place}/files"
        os.mkdir(folder, 0o755)
        for name, path in files:
            os.makedirs(os.path.dirname(f"{folder}/{name}"), 0o755, exist_ok=True)
            try:
                os.link(path, f"{folder}/{name}")
                os.chmod(path, 0o644)  # the step's root is not ours; who may come here is decided by the home
            except FileExistsError:
                raise CarboyError(f"two different files are named {name}", hint="name one index only") from None
        yield folder
