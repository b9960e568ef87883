"""What becomes of the caller's descriptors."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from carboy.runtime.passing import let_reopen

if TYPE_CHECKING:
    from pathlib import Path


def mode(fd: int) -> int:
    return stat.S_IMODE(os.fstat(fd).st_mode)


def test_others_may_write_an_output_and_read_an_input_and_no_more() -> None:
    inward, outward = os.pipe(), os.pipe()
    let_reopen({0: inward[0], 1: outward[1], 2: outward[1], 4: 999})
    assert [mode(fd) for fd in (*inward, *outward)] == [0o644, 0o644, 0o622, 0o622]
    for fd in (*inward, *outward):
        os.close(fd)


def test_what_is_no_pipe_of_the_callers_own_is_left_alone(tmp_path: Path) -> None:
    fifo, file = tmp_path / "fifo", tmp_path / "file"
    os.mkfifo(fifo, 0o600)
    file.touch(0o600)
    fds = {0: os.open(os.devnull, os.O_RDWR), 1: os.open(fifo, os.O_RDWR), 2: os.open(file, os.O_RDWR)}
    before = [mode(fd) for fd in fds.values()]
    let_reopen(fds)
    assert [mode(fd) for fd in fds.values()] == before
    for fd in fds.values():
        os.close(fd)
