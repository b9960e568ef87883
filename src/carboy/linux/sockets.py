"""What Python's sockets lack. Source: connect(2)."""

from __future__ import annotations

import ctypes

from carboy.linux.libc import LIBC, check

_AF_UNSPEC = 0
_SOCKADDR_BYTES = 16


def dissolve(fd: int) -> None:
    """End the association of a socket so that it can be connected again, in the namespace that it was made in.

    Raises ``OSError``.
    """
    nobody = ctypes.create_string_buffer(_AF_UNSPEC.to_bytes(2, "little"), _SOCKADDR_BYTES)
    check(LIBC.connect(fd, nobody, _SOCKADDR_BYTES), "connect")
