"""Secrets and configs whose content is no file of the person's: files in the home, for as long as their container is there.

::

    projects/<project>/<random>/<number>   the content (0600); a container reads it at each start

The values stand nowhere else: not in a label, not in a record, not on a command line. The home is closed to all others.
"""

from __future__ import annotations

import os

from carboy.base.fs import make_dir, remove_tree, translate_os_errors
from carboy.compose.planning.container import FileGrant, ServiceContainer


class Materials:
    """The files of all projects of one home."""

    def __init__(self, home: str) -> None:
        self._place = f"{home}/projects"

    def write(self, container: ServiceContainer) -> dict[FileGrant, str]:
        """Return the file of each secret and config of a container, made where it is none yet. Raises ``CarboyError``."""
        found = {grant: grant.file for grant in container.files if grant.file}
        rest = [grant for grant in container.files if not grant.file]
        if rest:
            folder = f"{self._place}/{container.project}/{os.urandom(8).hex()}"
            with translate_os_errors("write the project's secrets and configs"):
                make_dir(folder)
                for number, grant in enumerate(rest):
                    found[grant] = f"{folder}/{number}"
                    content = grant.content if grant.content is not None else grant.value or ""
                    _write(found[grant], content.encode())
        return found

    def sweep(self, project: str, used: set[str]) -> None:
        """Remove the files of a project that are not among ``used``, the mounts of its containers as they were asked for."""
        place = f"{self._place}/{project}"
        if not os.path.isdir(place):
            return
        with translate_os_errors("remove the project's secrets and configs"):
            for name in os.listdir(place):
                if not any(f"{place}/{name}/" in text for text in used):
                    remove_tree(f"{place}/{name}")
            if not os.listdir(place):
                os.rmdir(place)


def _write(path: str, data: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
