"""Files of a person's that appear whole: written without a name, which they get at the end (open(2), O_TMPFILE)."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

from carboy.base.fs import open_durable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO


@contextmanager
def open_unnamed(path: str, *, mode: int = 0o600) -> Iterator[BinaryIO]:
    """Give a file that appears at ``path`` whole and durable; killed before that, this process leaves nothing behind.

    ``mode`` is less what the umask takes. Raises ``OSError``.
    """
    folder = os.path.dirname(path)
    try:
        fd = os.open(folder, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno not in {errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL}:
            raise
        with open_durable(path, mode=mode) as file:  # a file system without unnamed files
            yield file
        return
    with os.fdopen(fd, "wb") as file:
        yield file
        file.flush()
        os.fsync(fd)
        above = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # linkat(2) replaces nothing, so there is a name between; with a descriptor Python follows the link in /proc.
            temporary = f"{os.path.basename(path)[:200]}.{os.urandom(6).hex()}.tmp"
            os.link(f"/proc/self/fd/{fd}", temporary, dst_dir_fd=above, follow_symlinks=True)
            os.rename(temporary, os.path.basename(path), src_dir_fd=above, dst_dir_fd=above)
            os.fsync(above)
        finally:
            os.close(above)
