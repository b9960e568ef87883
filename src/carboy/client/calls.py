"""One call of the engine from somebody else's Python process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from carboy.base.proc import spawn, wait
from carboy.errors import CarboyError

MAX_ANSWER_BYTES = 256 * 2**20
_WORKER = "import sys; sys.path.insert(0, sys.argv[1]); from carboy.client import worker; sys.exit(worker.main())"
_CLI = "import sys; sys.path.insert(0, sys.argv.pop(1)); from carboy.cli.main import main; sys.exit(main())"


def _find_command(program: str) -> list[str]:
    return [sys.executable, "-c", program, str(Path(__file__).resolve().parents[2])]


def find_cli() -> list[str]:
    """Return the argument vector of the command line under this interpreter; words of it come behind."""
    return _find_command(_CLI)


def call(method: str, **values: Any) -> Any:
    """Carry out ``method`` in a process of its own and return its answer (JSON values).

    The caller's environment counts (CARBOY_HOME, proxies). Raises ``CarboyError`` as the method does.
    """
    ask_read, ask_write = os.pipe2(os.O_CLOEXEC)
    answer_read, answer_write = os.pipe2(os.O_CLOEXEC)
    try:
        pid = spawn(_find_command(_WORKER), env=dict(os.environ), fds={2: 2, 3: ask_read, 4: answer_write})
    except BaseException:
        for fd in (ask_write, answer_read):
            os.close(fd)
        raise
    finally:
        os.close(ask_read)
        os.close(answer_write)
    try:
        with open(ask_write, "wb") as file:
            file.write(json.dumps({"method": method, "values": values}).encode())
        with open(answer_read, "rb") as file:
            data = file.read(MAX_ANSWER_BYTES)
    finally:
        status = wait(pid)
    if not data:
        raise CarboyError(f"{method}: the engine's process ended with status {status} without an answer")
    answer = json.loads(data)
    if "error" in answer:
        error = answer["error"]
        raise CarboyError(error["brief"], details=error["details"], hint=error["hint"], code=error["code"])
    return answer["result"]
