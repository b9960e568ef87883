"""What happened in a home, as it happens: one bounded file, appended to by whoever does a thing.

::

    events.log      one JSON object a line, written at once (O_APPEND): lines of two writers never mix
    events.log.1    what was put aside when it grew past MAX_BYTES; what was there before is gone

A line has ``time`` (seconds since 1970), ``type`` ("container", "image", "volume", "network"), ``action``, ``id``, ``name`` and
``attributes`` (texts). On the path of every start, so it imports next to nothing; ``watch.journal`` reads the file.
"""

from __future__ import annotations

import os
import time

from carboy.base.record import encode_json

TYPE_CHECKING = False

MAX_BYTES = 2**20
MAX_TEXT = 500


def write_event(home: str, kind: str, action: str, *, id: str = "", name: str = "", **attributes: str) -> None:
    """Note that something happened. About 30 microseconds; never raises: a full disk costs the note, not the deed."""
    line = encode_json(
        {
            "time": round(time.time(), 6),
            "type": kind,
            "action": action,
            "id": id,
            "name": name,
            "attributes": {key: text[:MAX_TEXT] for key, text in attributes.items()},
        }
    )
    path = f"{home}/events.log"
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return
    try:
        os.write(fd, f"{line}\n".encode())
        if os.fstat(fd).st_size > MAX_BYTES:
            _rotate(path, fd)
    except OSError:
        return
    finally:
        os.close(fd)


def write_container_event(folder: str, action: str, *, name: str | None = None, **attributes: str) -> None:
    """Note what happened to the container of a folder, under the name that it has now (or ``name``). Never raises."""
    home, _, container_id = folder.rpartition("/containers/")
    if name is None:
        from carboy.containers.names import read_name

        name = read_name(folder)
    write_event(home, "container", action, id=container_id, name=name, **attributes)


def _rotate(path: str, fd: int) -> None:
    """Put the file aside. Of several writers that find it too large the first does so; the others wait, and add no more."""
    import fcntl

    fcntl.flock(fd, fcntl.LOCK_EX)
    if os.path.samestat(os.fstat(fd), os.stat(path)):
        os.rename(path, f"{path}.1")
