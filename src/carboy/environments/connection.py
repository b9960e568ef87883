"""The private network of a step that installs: what it is connected by, and the names that it knows there."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carboy.errors import CarboyError
from carboy.runtime.attend import Watcher
from carboy.runtime.hostfiles import read_host_files

if TYPE_CHECKING:
    from carboy.runtime.loop import Loop
    from carboy.runtime.sandbox import Event, Sandbox
    from carboy.runtime.spec import FileMount


def read_step_files(*, network: str, hostname: str) -> tuple[FileMount, ...]:
    """Return what a step knows of names: what the host knows, by the name servers that its network leads to.

    ``network`` is "host" or "private".
    """
    shared = read_host_files(network="host", hostname=hostname)
    if network == "host":
        return shared
    from carboy.network.attachment import find_name_servers

    files = read_host_files(network=network, hostname=hostname, name_servers=find_name_servers(), has_search=True)
    (hosts,) = (file for file in shared if file.target == "/etc/hosts")
    return (*(file for file in files if file.target != hosts.target), hosts)


class Connection(Watcher):
    """Gives a sandbox a private network for as long as it runs, on which nothing is published and nobody has a name.

    Its specification has ``network`` "none" and ``announce_network``. As root from any thread; in the user tiers from a
    process of one thread.
    """

    def __init__(self, container_id: str, *, tier: str) -> None:
        self._id = container_id
        self._tier = tier
        self._sandbox: Sandbox | None = None

    def begin(self, sandbox: Sandbox, loop: Loop) -> None:
        """Stand beside a sandbox that is on its way."""
        del loop
        self._sandbox = sandbox

    def take(self, event: Event) -> None:
        """Connect the namespace when it is there."""
        if event[0] != "netns":
            return
        from carboy.network import private

        _, _, netns = event
        problem = ""
        try:
            private.attach(netns, container_id=self._id, tier=self._tier)
        except (CarboyError, OSError) as error:  # told to the stage program, which reports it as its own
            problem = ": ".join(text for text in (str(error), getattr(error, "details", "")) if text)
        finally:
            os.close(netns)
        assert self._sandbox is not None
        self._sandbox.proceed(problem)

    def end(self) -> None:
        """Leave the network."""
        from carboy.network import private

        private.detach(self._id, tier=self._tier)
