"""One call of the engine from somebody else's Python process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from carboy.base.proc import ask
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
    question = json.dumps({"method": method, "values": values}).encode()
    status, data = ask(_find_command(_WORKER), question, env=os.environ, max_bytes=MAX_ANSWER_BYTES, ends=(3, 4))
    if not data:
        raise CarboyError(f"{method}: the engine's process ended with status {status} without an answer")
    answer = json.loads(data)
    if "error" in answer:
        error = answer["error"]
        raise CarboyError(error["brief"], details=error["details"], hint=error["hint"], code=error["code"])
    return answer["result"]
