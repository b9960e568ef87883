"""Where carboy keeps its things: one folder, the caller's alone."""

from __future__ import annotations

import os
import stat

from carboy.errors import CarboyError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Home:
    """The folders of one home; every name is a path."""

    __slots__ = ("cache", "containers", "ingest", "layers", "names", "path", "run", "state_db", "store", "trash")

    def __init__(self, path: str) -> None:
        self.path = path
        self.store = f"{path}/store"
        self.layers = f"{path}/layers"
        self.ingest = f"{path}/ingest"
        self.trash = f"{path}/trash"
        self.state_db = f"{path}/state.db"
        self.containers = f"{path}/containers"
        self.names = f"{path}/names"
        self.cache = f"{path}/cache"
        self.run = f"{path}/run"


def find_home(environ: Mapping[str, str], uid: int) -> str:
    """Return where the home of a caller lies: CARBOY_HOME, else /var/lib/carboy for root, else the user's data folder."""
    override = environ.get("CARBOY_HOME")
    if override:
        return os.path.abspath(override)
    if uid == 0:
        return "/var/lib/carboy"
    base = environ.get("XDG_DATA_HOME") or ""
    if not base.startswith("/"):
        home = environ.get("HOME")
        if not home:
            raise CarboyError("there is no HOME to keep images in", hint="set CARBOY_HOME to a folder of yours")
        base = f"{home}/.local/share"
    return f"{base}/carboy"


def open_home(path: str) -> Home:
    """Return the home, made when it is missing, after checking that it is the caller's and closed to all others."""
    home = Home(path)
    try:
        status = os.stat(path)
    except FileNotFoundError:
        from carboy.base.fs import make_dir, translate_os_errors

        with translate_os_errors(f"make the folder {path}"):
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
            make_dir(path)
            for folder in _folders(home):
                os.makedirs(folder, mode=0o700, exist_ok=True)
        return home
    if not stat.S_ISDIR(status.st_mode):
        raise CarboyError(f"{path} is not a folder", hint="set CARBOY_HOME to a folder")
    if status.st_uid != os.geteuid():
        raise CarboyError(f"the folder {path} belongs to somebody else", hint="set CARBOY_HOME to a folder of yours")
    if status.st_mode & 0o077:
        # Layers hold set-user-id programs: nobody else may reach them (CVE-2021-41091).
        os.chmod(path, 0o700)
    for folder in _folders(home):
        if not os.path.isdir(folder):
            os.makedirs(folder, mode=0o700, exist_ok=True)
    return home


def open_own_home(environ: Mapping[str, str]) -> Home:
    """Return the caller's home, for commands that talk with running containers, or read: no tier is entered for them.

    Who may reach a container is who may open its folder; a namespace of one's own would not help and costs time.
    Raises ``CarboyError``.
    """
    return open_home(find_home(environ, os.getuid()))


def _folders(home: Home) -> tuple[str, ...]:
    return home.store, home.layers, home.ingest, home.trash, home.containers, home.names, home.cache, home.run
