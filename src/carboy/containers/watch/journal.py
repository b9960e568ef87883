"""What happened, read back: the events of a home since a moment, and those to come."""

from __future__ import annotations

import json
import os
import select
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from carboy.base import filters
from carboy.linux.inotify import Watch

READ_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class HomeEvent:
    """One thing that happened; ``time_s`` counts from 1970, ``kind`` is what it happened to."""

    time_s: float
    kind: str
    action: str
    id: str
    name: str
    attributes: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the event as it stands in the file."""
        return {
            "time": self.time_s,
            "type": self.kind,
            "action": self.action,
            "id": self.id,
            "name": self.name,
            "attributes": dict(self.attributes),
        }


def parse_event(line: bytes) -> HomeEvent | None:
    """Return the event of a line, None for a line that is none (half of one after a power cut)."""
    try:
        value = json.loads(line)
        return HomeEvent(
            time_s=float(value["time"]),
            kind=str(value["type"]),
            action=str(value["action"]),
            id=str(value["id"]),
            name=str(value["name"]),
            attributes=tuple((str(key), str(text)) for key, text in value["attributes"].items()),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _names(kind: str) -> Callable[[HomeEvent, str], bool]:
    def test(event: HomeEvent, value: str) -> bool:
        wanted = _short(value)
        if event.kind == kind and (event.name == wanted or (value and event.id.startswith(value))):
            return True
        return any(key == kind and _short(text) == wanted for key, text in event.attributes)

    return test


def _short(name: str) -> str:
    return name.removeprefix("docker.io/library/").removeprefix("docker.io/")


TESTS: dict[str, Callable[[HomeEvent, str], bool]] = {
    "type": lambda event, value: event.kind == value,
    "event": lambda event, value: event.action == value,
    "action": lambda event, value: event.action == value,
    "container": _names("container"),
    "image": _names("image"),
    "volume": _names("volume"),
    "network": _names("network"),
}


def parse_filters(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return the values of each key of ``--filter KEY=VALUE``. Raises ``CarboyError`` (2)."""
    return filters.parse_filters(texts, TESTS)


def is_wanted(event: HomeEvent, wanted: dict[str, list[str]]) -> bool:
    """Return whether an event passes what was read."""
    return filters.passes(event, wanted, TESTS)


def read_events(
    home: str, *, since_s: float, until_s: float | None = None, follow: bool = False
) -> Iterator[HomeEvent]:
    """Yield the events from ``since_s`` on, oldest first; with ``follow`` those to come, too, up to ``until_s`` or for ever.

    A follower sleeps until the file changes (inotify(7)).
    """
    reader = _Reader(f"{home}/events.log")
    with Watch(home) as watch:  # before the first look, so that nothing falls in between
        while True:
            for event in reader.read():
                if event.time_s >= since_s and (until_s is None or event.time_s <= until_s):
                    yield event
            left_s = None if until_s is None else until_s - time.time()
            if not follow or (left_s is not None and left_s <= 0):
                return
            select.select([watch.fileno()], [], [], left_s)
            watch.drain()


class _Reader:
    """Reads the file from its oldest line on, through one rotation at a time."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._rest = b""
        # The newer one first: a rotation in between then shows the same file twice, and hides none.
        self._file = self._open(path)
        self._older = self._open(f"{path}.1")
        if self._older >= 0 and self._file >= 0 and os.path.sameopenfile(self._older, self._file):
            os.close(self._older)
            self._older = -1

    @staticmethod
    def _open(path: str) -> int:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return -1

    def read(self) -> Iterator[HomeEvent]:
        """Yield what has not been read yet."""
        if self._older >= 0:
            yield from self._drain(self._older)
            os.close(self._older)
            self._older = -1
        while True:
            if self._file < 0:
                self._file = self._open(self._path)
            if self._file < 0:
                return
            yield from self._drain(self._file)
            try:
                if os.path.samestat(os.fstat(self._file), os.stat(self._path)):
                    return
            except FileNotFoundError:
                return
            yield from self._drain(self._file)  # what came between the last read and the rotation
            os.close(self._file)
            self._file = -1

    def _drain(self, fd: int) -> Iterator[HomeEvent]:
        while data := os.read(fd, READ_BYTES):
            lines = (self._rest + data).split(b"\n")
            self._rest = lines.pop()
            for line in lines:
                event = parse_event(line)
                if event is not None:
                    yield event
