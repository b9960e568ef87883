"""From specs to packages: asks py-rattler, in a process of its own, with the lists of channels that were fetched."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from carboy.base.proc import spawn, wait
from carboy.environments.conda.solve_step import MISSING
from carboy.environments.conda.wants import CondaPackage, make_package, make_record
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_SHOWN_LINES = 12
_PROGRAM = os.path.join(os.path.dirname(os.path.abspath(__file__)), "solve_step.py")
_MAX_ANSWER_BYTES = 64 * 2**20


def solve(
    specs: Sequence[str],
    lists: Sequence[tuple[str, str, str]],
    *,
    constraints: Sequence[str] = (),
    virtual: Sequence[tuple[str, str, str]] = (),
) -> tuple[CondaPackage, ...]:
    """Return the packages that ``specs`` come to, sorted by name.

    ``lists`` are (channel, subdir, path), those of the channel that goes first at the beginning; ``virtual`` (name, version,
    build) is what the system has. Raises ``CarboyError`` with what the solver says.
    """
    question = {
        "specs": list(specs),
        "constraints": list(constraints),
        "virtual": list(virtual),
        "lists": [{"channel": channel, "subdir": subdir, "path": path} for channel, subdir, path in lists],
    }
    answer = _ask(question)
    if "error" in answer:
        raise explain(str(answer["error"]), kind=str(answer.get("kind", "")))
    packages = [_read(item) for item in answer["packages"]]
    return tuple(sorted(packages, key=lambda package: package.name))


def _read(item: Mapping[str, Any]) -> CondaPackage:
    fields = {name: value for name, value in item.items() if name != "record"}
    return replace(make_package(**fields, where="a channel"), record=make_record(item["record"]))


def explain(text: str, *, kind: str) -> CarboyError:
    """Return what the solver says as an error: its beginning, without what it says each time."""
    lines = text.removeprefix("Cannot solve the request because of: ").strip().splitlines()
    more = [f"and {len(lines) - _SHOWN_LINES} lines more"] if len(lines) > _SHOWN_LINES else []
    details = "\n".join([*lines[:_SHOWN_LINES], *more])
    if kind == "SolverError":
        return CarboyError(
            "no set of packages meets what is asked of conda",
            details=details,
            hint="loosen a version, correct a name, or add the channel that has it",
        )
    if "MatchSpec" in kind or "Name" in kind or "Version" in kind:
        return CarboyError(
            "a dependency is not written as conda reads it",
            details=details,
            hint="write NAME, NAME=1.2 or NAME>=1.2,<2",
        )
    return CarboyError(
        "a channel's list cannot be read", details=details, hint="try again later, or use another mirror"
    )


def _ask(question: dict[str, Any]) -> dict[str, Any]:
    files = [os.memfd_create(name) for name in ("question", "answer", "errors")]
    try:
        _write(files[0], json.dumps(question).encode())
        pid = spawn([sys.executable, "-I", _PROGRAM], fds=dict(enumerate(files)), new_session=True)
        try:
            status = wait(pid)
        except BaseException:
            os.kill(pid, 9)
            wait(pid)
            raise
        answer, errors = (os.pread(fd, _MAX_ANSWER_BYTES, 0) for fd in files[1:])
    finally:
        for fd in files:
            os.close(fd)
    if status == MISSING:
        raise CarboyError(
            "conda's packages need py-rattler to choose versions, and it is not installed",
            details=errors.decode(errors="replace").strip()[-500:],
            hint="pip install 'carboy[conda]', or give a lock: conda-lock.yml, pixi.lock or carboy.lock",
        )
    if status != 0:
        raise CarboyError(
            f"the solver for conda's packages ended with status {status}",
            details=errors.decode(errors="replace").strip()[-2000:],
            hint="there may be too little memory for the channel's list; a conda-lock.yml needs no solving",
        )
    found: dict[str, Any] = json.loads(answer)
    return found


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
    os.lseek(fd, 0, os.SEEK_SET)
