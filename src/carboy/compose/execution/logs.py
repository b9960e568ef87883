"""What the containers of a project wrote, as one stream of lines: what there is in the order of time, then what comes."""

from __future__ import annotations

import heapq
import os
import select
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

from carboy.compose.planning.container import NUMBER_LABEL, ONEOFF_LABEL, PROJECT_LABEL, SERVICE_LABEL
from carboy.containers.log import LogLine, LogReader
from carboy.engine.containers.manage import ContainerView, list_containers
from carboy.errors import CarboyError
from carboy.linux.inotify import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.base.home import Home

# A container that is made while others are followed is noticed within this time, should its start not be told.
LOOK_S = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectLine:
    """One line of one container; ``text`` lacks the line's end. ``time`` is RFC 3339 in UTC."""

    name: str
    service: str
    number: str
    stream: str
    time: str
    text: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """What of the logs is wanted: of ``services`` (none: all), the last ``tail`` lines of each container, since a moment."""

    services: tuple[str, ...] = ()
    tail: int | None = None
    since: str = ""
    until: str = ""


class _Source:
    """The log of one container, whole lines at a time."""

    def __init__(self, view: ContainerView) -> None:
        self.folder = view.folder
        self.id = view.id
        self.labels = dict(view.config.labels)
        self.name = view.name
        self.watch = Watch(view.folder)  # before the first look, so that nothing falls in between
        self._reader = LogReader(view.folder)
        self._parts: dict[str, list[LogLine]] = {}

    def read(self) -> Iterator[ProjectLine]:
        """Yield the lines that are whole now and were not yielded yet."""
        for line in self._reader.read():
            parts = self._parts.setdefault(line.stream, [])
            parts.append(line)
            if line.full:
                yield self._join(parts)

    def rest(self) -> Iterator[ProjectLine]:
        """Yield what has no line's end, when there will be none."""
        for parts in self._parts.values():
            if parts:
                yield self._join(parts)

    def _join(self, parts: list[LogLine]) -> ProjectLine:
        made = ProjectLine(
            name=self.name,
            service=self.labels.get(SERVICE_LABEL, ""),
            number=self.labels.get(NUMBER_LABEL, ""),
            stream=parts[0].stream,
            time=parts[0].time,
            text=b"".join(part.text for part in parts),
        )
        parts.clear()
        return made

    def close(self) -> None:
        """Close the files."""
        self._reader.close()
        self.watch.__exit__(None, None, None)


class ProjectLog:
    """Follows the logs of a project's containers, also of those that are made meanwhile. A context manager."""

    def __init__(self, home: Home, project: str, options: LogOptions) -> None:
        self._home = home
        self._project = project
        self._options = options
        self._sources: dict[str, _Source] = {}
        self._watch = Watch(home.path)

    def __enter__(self) -> ProjectLog:
        return self

    def __exit__(self, *_: object) -> None:
        for source in self._sources.values():
            source.close()
        self._sources.clear()
        self._watch.__exit__(None, None, None)

    def filenos(self) -> list[int]:
        """Return descriptors one of which is readable when there may be something new."""
        return [self._watch.fileno(), *(source.watch.fileno() for source in self._sources.values())]

    def read(self) -> Iterator[ProjectLine]:
        """Yield what has been written since the last call, in the order of time: the first time what is wanted of the past."""
        self._watch.drain()
        views = {view.id: view for view in self._find()}
        lines = []
        for id in [id for id in self._sources if id not in views]:
            source = self._sources.pop(id)
            lines.append(source.rest())
            source.close()
        for id, view in views.items():
            known = self._sources.get(id)
            source = known or _Source(view)
            source.watch.drain()
            self._sources[id] = source
            lines.append(source.read() if known else self._first(source))
        yield from heapq.merge(*lines, key=lambda line: line.time)

    def _first(self, source: _Source) -> Iterator[ProjectLine]:
        options = self._options
        lines = (
            line
            for line in source.read()
            if line.time >= options.since and (not options.until or line.time <= options.until)
        )
        return lines if options.tail is None else iter(deque(lines, maxlen=options.tail))

    def _find(self) -> list[ContainerView]:
        return [
            view
            for view in find_views(self._home, self._project, self._options.services)
            if view.config.log_bytes and os.path.exists(view.folder)
        ]

    def is_over(self) -> bool:
        """Return whether no container will write any more."""
        return not any(view.running for view in self._find())

    def read_to_end(self) -> list[ProjectLine]:
        """Return what there is, lines without an end too."""
        lines = list(self.read())
        return [*lines, *(line for source in self._sources.values() for line in source.rest())]

    def follow(self) -> Iterator[list[ProjectLine]]:
        """Yield lines, as many as come together, until all containers have ended."""
        while not self.is_over():
            yield list(self.read())
            select.select(self.filenos(), [], [], LOOK_S)
        yield self.read_to_end()


def find_views(home: Home, project: str, services: tuple[str, ...] = ()) -> list[ContainerView]:
    """Return the containers of a project that ``up`` made (of ``services``; none: all), in the order of names and numbers."""
    found = []
    for view in list_containers(home, everything=True):
        labels = dict(view.config.labels)
        if labels.get(PROJECT_LABEL) != project or labels.get(ONEOFF_LABEL, "").lower() == "true":
            continue
        if not services or labels.get(SERVICE_LABEL) in services:
            found.append((labels.get(SERVICE_LABEL, ""), labels.get(NUMBER_LABEL, "").zfill(9), view))
    return [view for _, _, view in sorted(found, key=lambda item: item[:2])]


def find_view(home: Home, project: str, service: str, *, number: int = 1) -> ContainerView:
    """Return one container of a service. Raises ``CarboyError`` when there is none."""
    views = find_views(home, project, (service,))
    for view in views:
        if dict(view.config.labels).get(NUMBER_LABEL) == str(number):
            return view
    if not views:
        raise CarboyError(f"the service {service} has no container", hint=f"carboy compose up -d {service}")
    raise CarboyError(
        f"the service {service} has no container {number}", hint=f"it has {len(views)}: leave --index out for the first"
    )
