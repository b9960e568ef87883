"""Finding a container's folder on the short path of ``exec``: a name, no parsing of records."""

from __future__ import annotations

from carboy.base.home import open_own_home
from carboy.containers.names import find_owner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


def find_folder(environ: Mapping[str, str], name: str) -> str:
    """Return the folder of the container called ``name``. Raises ``CarboyError`` when there is none."""
    home = open_own_home(environ)
    owner = find_owner(home, name) if name and "/" not in name and name not in {".", ".."} else None
    if owner is None:
        from carboy.engine.containers.manage import find_container

        owner = find_container(home, name)
    return f"{home.containers}/{owner}"
