"""Records of runs on the disk.

::

    runs/<id>.json      RunRecord, 0600, replaced as a whole and durably; the id is that of the container that ran

A run is written down when it begins, and again when it has ended. What its record says while it runs counts as long as its
container is there: see ``engine.ledger``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from carboy.base.fs import fsync_dir, make_dir, translate_os_errors, write_durable
from carboy.base.home import Home
from carboy.errors import CarboyError
from carboy.ledger.record import MAX_RECORD_BYTES, RunRecord, encode_record, parse_record

SHORT_ID = 12
_NAME = re.compile(r"([0-9a-f]{64})\.json", re.ASCII)
# What a writer leaves that is killed in the middle (base.fs.open_durable).
_REST = re.compile(r"[0-9a-f]{64}\.json\.[0-9a-f]{12}\.tmp", re.ASCII)
_OLD_S = 3600


class RunStore:
    """The records of one home. Any number of processes may use it at once; holds nothing open between calls."""

    def __init__(self, home: Home) -> None:
        self._path = f"{home.path}/runs"

    def write(self, record: RunRecord) -> None:
        """Keep a record, durably, in place of the one with its id. Raises ``CarboyError``."""
        with translate_os_errors("write the record of the run"):
            make_dir(self._path)
            write_durable(f"{self._path}/{record.id}.json", encode_record(record))

    def list_ids(self) -> list[str]:
        """Return the ids of all records, sorted."""
        try:
            names = os.listdir(self._path)
        except FileNotFoundError:
            return []
        return sorted(match[1] for name in names if (match := _NAME.fullmatch(name)))

    def iter_records(self) -> Iterator[RunRecord | CarboyError]:
        """Yield all records; for one that is damaged, what is wrong with it."""
        for run_id in self.list_ids():
            try:
                yield self.read(run_id)
            except CarboyError as error:
                yield error

    def read(self, run_id: str) -> RunRecord:
        """Return the record with this whole id. Raises ``CarboyError`` when it is gone or damaged."""
        try:
            with open(f"{self._path}/{run_id}.json", "rb") as file:
                data = file.read(MAX_RECORD_BYTES + 1)
        except FileNotFoundError:
            raise self._unknown(run_id) from None
        return parse_record(data, name=run_id[:SHORT_ID])

    def find_id(self, text: str) -> str:
        """Return the one id that begins with ``text``. Raises ``CarboyError`` when none does, or several do."""
        found = [run_id for run_id in self.list_ids() if text and run_id.startswith(text)]
        if len(found) > 1:
            raise CarboyError(f"{text} is the start of {len(found)} runs", hint="write more letters of it")
        if not found:
            raise self._unknown(text)
        return found[0]

    def remove(self, run_id: str) -> None:
        """Remove a record, damaged or not. Raises ``CarboyError`` when there is none."""
        with translate_os_errors(f"remove the record of the run {run_id[:SHORT_ID]}"):
            try:
                os.unlink(f"{self._path}/{run_id}.json")
            except FileNotFoundError:
                raise self._unknown(run_id) from None
            fsync_dir(self._path)
            self._remove_rests()

    def _remove_rests(self) -> None:
        import time

        for name in os.listdir(self._path):
            path = f"{self._path}/{name}"
            try:
                if _REST.fullmatch(name) and time.time() - os.stat(path).st_mtime > _OLD_S:
                    os.unlink(path)
            except FileNotFoundError:
                continue

    def _unknown(self, text: str) -> CarboyError:
        return CarboyError(f"there is no run {text[:SHORT_ID]}", hint="`carboy runs` lists them")
