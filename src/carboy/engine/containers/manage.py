"""Containers by name: find, list, stop, kill, remove, rename, wait, read logs."""

from __future__ import annotations

import os
import select
import time

from carboy.containers import client, control
from carboy.containers.events import write_container_event
from carboy.containers.names import claim_name, find_owner, read_name, release_name, write_name
from carboy.containers.record import ContainerConfig, ContainerState, read_boot, read_json, write_record
from carboy.containers.removal import remove_container
from carboy.errors import CarboyError
from carboy.snapshots import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.base.home import Home
    from carboy.containers.log import LogLine, LogReader
    from carboy.snapshots.snapshot import Container

SHORT_ID = 12
SIGKILL = 9
SUPERVISOR_DIED = 137
LIVE = frozenset({"running", "paused", "restarting"})
FOLLOW_S = 0.1


class ContainerView:
    """A container as it is now: what was asked for, what it does, and the name it has."""

    __slots__ = ("config", "folder", "name", "state")

    def __init__(self, *, config: ContainerConfig, state: ContainerState, name: str, folder: str) -> None:
        self.config = config
        self.state = state
        self.name = name
        self.folder = folder

    @property
    def id(self) -> str:
        """The full id."""
        return self.config.id

    @property
    def running(self) -> bool:
        """Whether its process is there, going on or paused."""
        return self.state.status in LIVE


def find_container(home: Home, name: str) -> str:
    """Return the id of the container with this name, this id, or the only id that begins so.

    Raises ``CarboyError`` that names the nearest container when there is none, or when the beginning is ambiguous.
    """
    owner = find_owner(home, name) if "/" not in name and name not in {"", ".", ".."} else None
    if owner is not None:
        return owner
    ids = [entry for entry in _ids(home) if name and entry.startswith(name)]
    if len(ids) == 1:
        return ids[0]
    if len(ids) > 1:
        raise CarboyError(f"{name} is the beginning of {len(ids)} containers' ids", hint="write more letters of it")
    from difflib import get_close_matches

    near = get_close_matches(name, os.listdir(home.names), n=1)
    raise CarboyError(
        f"there is no container {name}",
        hint=f"did you mean {near[0]}?" if near else "`carboy ps -a` lists all containers",
    )


def _ids(home: Home) -> list[str]:
    return [name for name in os.listdir(home.containers) if "~" not in name]


def view_container(home: Home, container_id: str) -> ContainerView | None:
    """Return a container as it is now; None for a folder that holds none: a build step, or what somebody who was killed left.

    What its keeper wrote down last counts while the keeper lives. Otherwise the container has ended, whatever was written:
    with the machine, or with its keeper.
    """
    folder = f"{home.containers}/{container_id}"
    config = read_json(f"{folder}/config.json")
    if config is None:
        return None
    state = _read_state(folder)
    if state.status in LIVE and not snapshot.is_running(home, container_id):
        state = _read_state(folder)  # its keeper writes the end down before it lets go
    if state.status in LIVE and not snapshot.is_running(home, container_id):
        rebooted = state.boot != read_boot()
        reason = "the machine was restarted" if rebooted else "the process that kept the container was killed"
        state = state.replace(
            status="exited", exit_code=SUPERVISOR_DIED, pid=0, error=reason, health="", ports=(), addresses=()
        )
    if not snapshot.is_kept(home, container_id) and not snapshot.is_running(home, container_id):
        return None
    return ContainerView(config=ContainerConfig.from_json(config), state=state, name=read_name(folder), folder=folder)


def _read_state(folder: str) -> ContainerState:
    value = read_json(f"{folder}/state.json")
    return ContainerState(status="created") if value is None else ContainerState.from_json(value)


def open_view(home: Home, name: str) -> ContainerView:
    """Return the container called ``name``. Raises ``CarboyError`` when there is none."""
    view = view_container(home, find_container(home, name))
    if view is None:
        raise CarboyError(f"there is no container {name}", hint="`carboy ps -a` lists all containers")
    return view


def list_containers(home: Home, *, everything: bool = False) -> list[ContainerView]:
    """Return the containers that run, or all of them, newest first."""
    views = [view for container_id in _ids(home) if (view := view_container(home, container_id)) is not None]
    views.sort(key=lambda view: (-view.config.created_at_s, view.id))
    return views if everything else [view for view in views if view.running]


def stop_container(view: ContainerView, *, timeout_s: int | None = None, signal: int) -> None:
    """Ask a container to end, and end it after ``timeout_s`` (None: its own; -1: never); returns when it has ended.

    One that does not run is fine. Raises ``CarboyError``.
    """
    connection = control.connect(view.folder)
    if connection is None:
        return
    connection.send(("stop", signal, view.config.stop_timeout_s if timeout_s is None else timeout_s))
    connection.receive()
    connection.close()
    _wait_unlocked(view)


def _wait_unlocked(view: ContainerView) -> None:
    """Return when the keeper has let go of the container, which it does within moments of the end."""
    for _ in range(500):
        if not _is_kept(view):
            return
        time.sleep(0.01)


def lock_ended(home: Home, container_id: str) -> Container | None:
    """Return a container that does not run, locked; None when it runs, or there is none.

    Its keeper writes the end down first and lets go moments later: whoever has read of the end waits for that here.
    """
    folder = f"{home.containers}/{container_id}"
    for _ in range(500):
        container = snapshot.lock_container(home, container_id)
        if container is not None or not os.path.isdir(folder) or _read_state(folder).status in LIVE:
            return container
        time.sleep(0.01)
    return None


def _is_kept(view: ContainerView) -> bool:
    home, _, container_id = view.folder.rpartition("/containers/")
    from carboy.base.home import Home

    return snapshot.is_running(Home(home), container_id)


def kill_container(view: ContainerView, *, signal: int) -> None:
    """Send a signal to a running container's process. Raises ``CarboyError`` (125) when it does not run."""
    client.request(view.folder, ("signal", signal))


def pause_container(view: ContainerView, *, resume: bool = False) -> None:
    """Stop all processes of a container where they are, or let them go on. Raises ``CarboyError``."""
    client.request(view.folder, ("resume" if resume else "pause",))


def wait_container(home: Home, view: ContainerView) -> int:
    """Wait for the end of a container and return its exit status; at once when it does not run."""
    connection = control.connect(view.folder)
    if connection is not None:
        connection.send(("wait",))
        answer, _ = connection.receive()
        connection.close()
        if answer is not None:
            return int(answer[1])
    now = view_container(home, view.id)
    return view.state.exit_code if now is None else now.state.exit_code


def delete_container(home: Home, view: ContainerView, *, force: bool = False, remove_anonymous: bool = False) -> None:
    """Remove a container and what it wrote; a running one only with ``force``. Of two who ask at once one does it.

    ``remove_anonymous``: its unnamed volumes go, too.

    Raises ``CarboyError`` when it runs, or is gone.
    """
    if view.running and not force:
        raise CarboyError(
            f"the container {view.name} is running", hint=f"`carboy stop {view.name}` first, or `carboy rm -f`"
        )
    if force and _is_kept(view):  # whatever it was when it was looked at: its policy may have started it again
        stop_container(view, timeout_s=0, signal=SIGKILL)
    container = lock_ended(home, view.id)
    if container is None:
        if os.path.isdir(view.folder):
            raise CarboyError(f"the container {view.name} has just been started", hint="try again, or `carboy rm -f`")
        if force or view.config.auto_remove:
            return
        raise CarboyError(f"there is no container {view.name}", hint="somebody else has removed it")
    remove_container(home.path, view.id, name=view.name, lock=container.lock, remove_anonymous=remove_anonymous)


def rename_container(home: Home, view: ContainerView, new_name: str) -> None:
    """Give a container another name. Raises ``CarboyError`` when it is in use."""
    claim_name(home, view.id, new_name)
    try:
        write_name(view.folder, new_name)
    except OSError:
        release_name(home, new_name, owner=view.id)
        raise
    release_name(home, view.name, owner=view.id)
    write_container_event(view.folder, "rename", name=new_name, oldName=view.name, image=view.config.image)


def mark_ended(home: Home, view: ContainerView) -> None:
    """Write the truth down for a container whose keeper died without a word."""
    container = snapshot.lock_container(home, view.id)
    if container is not None:
        write_record(container.path, "state", view.state)
        os.close(container.lock)


def prune_containers(home: Home) -> list[str]:
    """Remove every container that does not run, and return their names."""
    removed = []
    for view in list_containers(home, everything=True):
        if view.running:
            continue
        try:
            delete_container(home, view)
        except CarboyError:
            now = view_container(home, view.id)
            if now is not None and not now.running:
                raise
            continue  # somebody else has removed or started it meanwhile
        removed.append(view.name or view.id)
    return removed


def read_log(
    view: ContainerView, *, follow: bool = False, tail: int | None = None, since: str = "", until: str = ""
) -> Iterator[LogLine]:
    """Yield a container's log, oldest first: the last ``tail`` lines, or those between two times (RFC 3339 in UTC, as text).

    With ``follow`` it goes on until nobody keeps the container any more, or the time ``until`` comes. Raises ``CarboyError``.
    """
    from carboy.containers.log import LogReader

    if view.config.log_bytes == 0 or (view.config.auto_remove and not os.path.exists(f"{view.folder}/log")):
        raise CarboyError("this container keeps no log", hint="its output goes to whoever runs it in the foreground")
    keeper = control.connect(view.folder) if follow else None
    reader = LogReader(view.folder)
    end_s = _read_moment_s(until)
    try:
        yield from _between(reader, since, until) if tail is None else _last(_between(reader, since, until), tail)
        if keeper is not None and keeper.send(("follow",)):
            while not select.select([keeper.fileno()], [], [], FOLLOW_S)[0]:
                yield from _between(reader, since, until)
                if time.time() > end_s:
                    return
            yield from _between(reader, since, until)
    finally:
        reader.close()
        if keeper is not None:
            keeper.close()


def _between(reader: LogReader, since: str, until: str) -> Iterator[LogLine]:
    """Yield what has not been read yet of a log, between two times; their texts are compared to the microsecond."""
    for line in reader.read():
        moment = f"{line.time[:26]}Z"
        if moment >= since and (not until or moment <= until):
            yield line


def _read_moment_s(text: str) -> float:
    from datetime import datetime

    return datetime.fromisoformat(text).timestamp() if text else float("inf")


def _last(lines: Iterator[LogLine], count: int) -> Sequence[LogLine]:
    """Return the last ``count`` lines; parts of one line count once, and so does one that has no end yet."""
    from collections import deque

    if not count:
        return ()
    kept: deque[LogLine] = deque()
    ends = 0  # lines in `kept` that are complete
    for line in lines:
        kept.append(line)
        ends += line.full
        while ends + (not kept[-1].full) > count:
            ends -= kept.popleft().full
    return kept
