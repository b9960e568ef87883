"""What a keeper makes of its sandbox's events."""

from __future__ import annotations

import os
from pathlib import Path

from carboy.containers.keeper import Keeper


def test_a_process_that_ended_before_it_was_heard_of_is_no_error(tmp_path: Path) -> None:
    pid = os.fork()
    if pid == 0:
        os._exit(7)
    os.waitpid(pid, 0)
    keeper = Keeper(str(tmp_path), {})
    try:
        keeper.take(("pid", pid))
        keeper.take(("exit", 7))
        keeper.end()
        assert (keeper.state.status, keeper.state.exit_code, keeper.state.pid) == ("exited", 7, 0)
    finally:
        keeper.close()
