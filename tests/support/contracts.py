"""The contract of runtimes: which there are, what is listed as impossible for one, and the table that a run prints.

A behaviour that is listed for a runtime is tested all the same, and must fail: what a newer version can do is taken off the list.
"""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from sandboxes import Result, Sandboxes

RUNTIMES = ("native", "runc", "crun", "runsc")
EVERYDAY = frozenset({"native"})  # each of the others takes a minute
EXCEPTIONS_PATH = Path(__file__).resolve().parents[1] / "contract" / "exceptions.toml"
_PREFIX = "tests/contract/test_runtime.py::"


def read_exceptions() -> dict[str, dict[str, str]]:
    """Return for each runtime the reasons by the name of the behaviour (the test's name without ``test_``)."""
    found: dict[str, dict[str, str]] = tomllib.loads(EXCEPTIONS_PATH.read_text())
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """Makes root's sandboxes with one runtime."""

    runtime: str
    sandboxes: Sandboxes

    def run(self, *args: str, **options: Any) -> Result:
        """Run one sandbox to its end, as :meth:`Sandboxes.run`."""
        return self.sandboxes.run(*args, runtime=self.runtime, **options)

    @contextmanager
    def start(self, *args: str, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
        """Give a driver whose output can be read; whatever the test comes to, it is gone afterwards."""
        command = self.sandboxes.command(*args, runtime=self.runtime, **options)
        with self.sandboxes.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            try:
                yield process
                process.wait(timeout=20)
            finally:
                process.kill()


_refusals: dict[str, str] = {}


@pytest.fixture
def box(request: pytest.FixtureRequest, root_sandboxes: Sandboxes) -> Box:
    """Return a maker of sandboxes for each runtime in turn."""
    runtime: str = request.param
    if runtime != "native" and shutil.which(runtime) is None:
        pytest.skip(f"{runtime} is not installed (Debian: {runtime})")
    made = Box(runtime=runtime, sandboxes=root_sandboxes)
    if runtime == "crun":
        # Debian 12's refuses a machine with both versions of control groups, whatever it is to run.
        if runtime not in _refusals:
            result = made.run("true")
            _refusals[runtime] = result.error if result.status == 125 and "hybrid" in result.error else ""
        if _refusals[runtime]:
            pytest.skip(_refusals[runtime])
    return made


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each behaviour with each runtime; what is listed must fail."""
    if "box" not in metafunc.fixturenames:
        return
    name = metafunc.function.__name__.removeprefix("test_")
    exceptions = read_exceptions()
    parameters = []
    for runtime in RUNTIMES:
        reason = exceptions.get(runtime, {}).get(name)
        marks = [] if runtime in EVERYDAY else [pytest.mark.long]
        if reason is not None:
            marks.append(pytest.mark.xfail(reason=reason, strict=True))
        parameters.append(pytest.param(runtime, marks=marks, id=runtime))
    metafunc.parametrize("box", parameters, indirect=True)


# --- the table ----------------------------------------------------------------------------------------------------


def _find_row(nodeid: str) -> tuple[str, str] | None:
    if not nodeid.startswith(_PREFIX) or not nodeid.endswith("]"):
        return None
    name, _, parameters = nodeid[len(_PREFIX) : -1].partition("[")
    return name.removeprefix("test_").replace("_", " "), parameters.partition("-")[0]


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Print what each runtime did with each behaviour."""
    rows: dict[str, dict[str, str]] = {}
    reasons: dict[str, list[str]] = {}
    refused: dict[str, str] = {}
    for outcome, word in (("passed", "pass"), ("xfailed", "listed"), ("failed", "FAIL"), ("skipped", "-")):
        for report in terminalreporter.stats.get(outcome, ()):
            row = _find_row(report.nodeid)
            if row is None:
                continue
            behaviour, runtime = row
            found = rows.setdefault(behaviour, {})
            if found.get(runtime) != "FAIL":
                found[runtime] = word
            if outcome == "xfailed":
                reasons.setdefault(f"{runtime}: {report.wasxfail.removeprefix('reason: ')}", []).append(behaviour)
            if outcome == "skipped":
                refused[runtime] = report.longrepr[2].removeprefix("Skipped: ")
    if not rows:
        return
    write = terminalreporter.write_line
    terminalreporter.write_sep("-", "the contract of runtimes")
    write(f"{'':38}" + "".join(f"{name:>8}" for name in RUNTIMES))
    for behaviour, found in sorted(rows.items()):
        write(f"{behaviour:38}" + "".join(f"{found.get(name, ''):>8}" for name in RUNTIMES))
    for runtime, reason in sorted(refused.items()):
        write(f"-      {runtime}: {reason}")
    for reason, behaviours in sorted(reasons.items()):
        write(f"listed {reason} ({', '.join(sorted(behaviours))})")
