"""The recorded runs of a home: find, list, remove; and ``runs --filter``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from carboy.base.filters import has_label, parse_filters, passes
from carboy.errors import CarboyError
from carboy.ledger.record import RunRecord
from carboy.ledger.store import SHORT_ID, RunStore
from carboy.snapshots import snapshot

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carboy.base.home import Home

    Test = Callable[["RunView", str], bool]

LATEST = "latest"


class RunView:
    """A recorded run as it is now: ``status`` is "running", "ended", or "lost" when nobody saw its end."""

    __slots__ = ("record", "status")

    def __init__(self, record: RunRecord, *, alive: bool) -> None:
        self.record = record
        self.status: str = record.state if record.state == "ended" or alive else "lost"


def open_run(home: Home, text: str) -> RunView:
    """Return the run whose id begins with ``text``; "latest" is the newest one. Raises ``CarboyError``."""
    if text == LATEST:
        views, _ = list_runs(home)
        if not views:
            raise CarboyError("there are no recorded runs", hint="`carboy run --record` makes one")
        return views[0]
    store = RunStore(home)
    return _view(home, store.read(store.find_id(text)))


def list_runs(home: Home, filters: Sequence[str] = ()) -> tuple[list[RunView], list[CarboyError]]:
    """Return the runs that pass the filters, the newest first, and what is wrong with records that cannot be read.

    Raises ``CarboyError`` (2) for a filter that there is not.
    """
    wanted = parse_filters(filters, TESTS)
    found, problems = [], []
    for record in RunStore(home).iter_records():
        if isinstance(record, CarboyError):
            problems.append(record)
        elif passes(view := _view(home, record), wanted, TESTS):
            found.append(view)
    return sorted(found, key=lambda view: (-view.record.started_at_s, view.record.id)), problems


def remove_run(home: Home, text: str, *, force: bool = False) -> None:
    """Remove the record of a run; of one that runs only with ``force``: its end writes it again. Raises ``CarboyError``."""
    store = RunStore(home)
    run_id = store.find_id(text)
    if not force and snapshot.is_running(home, run_id):
        raise CarboyError(f"the run {run_id[:SHORT_ID]} is going on", hint="wait for its end, or `carboy runs rm -f`")
    store.remove(run_id)


def _view(home: Home, record: RunRecord) -> RunView:
    return RunView(record, alive=record.state == "running" and snapshot.is_running(home, record.id))


def _labels(record: RunRecord) -> list[tuple[str, str]]:
    return [tuple(pair) for name, text in record.settings if name == "labels" for pair in json.loads(text)]


def _is_of(view: RunView, value: str) -> bool:
    """Return whether the run's image is the one named: by its name, with or without a tag, its folder or its digest."""
    record = view.record
    names = {record.image, record.image.rpartition(":")[0], record.folder, record.folder.rpartition("/")[2]}
    return bool(value) and (value in names or record.manifest.hex.startswith(value.removeprefix("sha256:")))


TESTS: dict[str, Test] = {
    "status": lambda view, value: view.status == value,
    "id": lambda view, value: view.record.id.startswith(value),
    "label": lambda view, value: has_label(_labels(view.record), value),
    "ancestor": _is_of,
    "exited": lambda view, value: view.status == "ended" and str(view.record.exit_status) == value,
    "seed": lambda view, value: str(view.record.seed) == value,
    "rerun-of": lambda view, value: bool(value) and view.record.rerun_of.startswith(value),
}
