"""What a RUN mounts: the language's mounts to the sandbox's, each source held while the step runs.

Files of a context or a stage come as a copy of what was asked for, made by the same rules as COPY's: what the .dockerignore
leaves out is not there, a link leads nowhere outside its origin (CVE-2024-1753), and what is written is thrown away with
the copy.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.build.copying.place import Placer, Target
from carboy.build.copying.select import Source
from carboy.build.graph.ops import BindMount, CacheMount, Run, SecretMount, SshMount
from carboy.build.running.agents import AgentProxy
from carboy.build.running.host import SHORTEST_SECRET_BYTES
from carboy.errors import CarboyError
from carboy.runtime import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import ExitStack

    from carboy.build.copying.views import View
    from carboy.build.graph.ops import Origin
    from carboy.build.graph.options import BuildOptions
    from carboy.build.running.caches import CacheFolders

PIPES = "/dev/pipes"


@dataclass(slots=True)
class Mounted:
    """What a step gets: mounts in the order they were asked for, variables, and what its output must not show.

    ``host`` are variables of this machine's, which count below the step's own; ``folders`` and ``files`` are places of mounts.
    """

    mounts: list[spec.BindMount | spec.TmpfsMount | spec.FileMount] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    host: dict[str, str] = field(default_factory=dict)
    hidden: list[bytes] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


class Mounting:
    """Makes the mounts of one step; what is opened for it is closed by ``stack``.

    ``folder`` is the step's own, for copies; ``views`` are its origins; ``wait`` is called while a cache is held by others.
    """

    def __init__(
        self,
        op: Run,
        *,
        folder: str,
        views: Mapping[Origin, View],
        caches: CacheFolders,
        options: BuildOptions,
        epoch_s: int,
        on_disk: bool,
        stack: ExitStack,
        wait: Callable[[], None],
    ) -> None:
        self._op = op
        self._folder = folder
        self._views = views
        self._caches = caches
        self._options = options
        self._epoch_s = epoch_s
        self._on_disk = on_disk
        self._stack = stack
        self._wait = wait
        self._count = 0

    def open(self) -> Mounted:
        """Return what the step gets. Raises ``CarboyError`` for a secret or agent that is required and not there."""
        found = Mounted()
        if self._op.files:
            found.mounts.append(spec.BindMount(source=self._write_files(), target=PIPES))
        # In the order of their ids: two steps that hold caches of each other's would wait for ever.
        held = {
            id(mount): self._open_cache(mount)
            for mount in sorted((m for m in self._op.mounts if isinstance(m, CacheMount)), key=lambda m: m.id)
        }
        for mount in self._op.mounts:
            match mount:
                case BindMount():
                    self._bind(mount, found)
                case CacheMount():
                    found.folders.append(mount.target)
                    found.mounts.append(
                        spec.BindMount(
                            source=held[id(mount)], target=mount.target, read_only=mount.read_only, idmap="ids"
                        )
                    )
                case SecretMount():
                    self._secret(mount, found)
                case SshMount():
                    self._agent(mount, found)
                case _:
                    found.folders.append(mount.target)
                    size = mount.size_bytes or os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2
                    found.mounts.append(spec.TmpfsMount(target=mount.target, size_bytes=size, mode=0o755))
        return found

    def _new_folder(self) -> str:
        self._count += 1
        path = f"{self._folder}/mount-{self._count}"
        os.mkdir(path, 0o755)
        os.chmod(path, 0o755)  # noqa: S103  whatever the umask: the step's user may be any
        return path

    def _write_files(self) -> str:
        folder = self._new_folder()
        for file in self._op.files:
            fd = os.open(f"{folder}/{file.name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with open(fd, "wb") as out:
                out.write(file.content)
                os.fchmod(fd, file.mode)
        return folder

    def _bind(self, mount: BindMount, found: Mounted) -> None:
        copied = self._copy(mount.origin, mount.source, self._new_folder())
        (found.folders if os.path.isdir(copied) else found.files).append(mount.target)
        found.mounts.append(spec.BindMount(source=copied, target=mount.target, read_only=mount.read_only, idmap="ids"))

    def _copy(self, origin: Origin, source: str, folder: str) -> str:
        """Copy ``source`` into an empty folder; return where it is: the folder itself, or the file in it."""
        view = self._views[origin]
        (selected,) = view.select(Source(path=source, wildcards=False))
        placer = Placer([], folder, on_disk=self._on_disk)
        target = Target(destination="/", chown=None, chmod=None, epoch_s=self._epoch_s)
        placer.copy(selected, view, target, unpack="never")
        return folder if selected.is_folder else f"{folder}/{os.fsdecode(selected.name)}"

    def _open_cache(self, mount: CacheMount) -> str:
        fill = None
        origin = ""
        if mount.origin is not None:
            view, source = mount.origin, mount.source
            origin = self._digest(view, source)
            fill = lambda folder: _discard(self._copy(view, source, folder))  # noqa: E731
        folder = self._caches.open(mount, origin=origin, fill=fill, wait=self._wait)
        return self._stack.enter_context(folder).data

    def _digest(self, origin: Origin, source: str) -> str:
        view = self._views[origin]
        (selected,) = view.select(Source(path=source, wildcards=False))
        return view.digest(selected)

    def _secret(self, mount: SecretMount, found: Mounted) -> None:
        content = self._options.secrets.get(mount.id)
        if content is None:
            if mount.required:
                raise CarboyError(
                    f"the secret {mount.id} is required and was not given", hint=f"--secret id={mount.id},src=FILE"
                )
            return
        found.hidden += [line for line in content.split(b"\n") if len(line.strip()) >= SHORTEST_SECRET_BYTES]
        if mount.env is not None:
            found.env[mount.env] = content.decode("utf-8", "surrogateescape")
        if mount.target is not None:
            found.files.append(mount.target)
            found.mounts.append(
                spec.FileMount(
                    target=mount.target, content=content, mode=mount.mode, private=True, user=f"{mount.uid}:{mount.gid}"
                )
            )

    def _agent(self, mount: SshMount, found: Mounted) -> None:
        agent = self._options.ssh.get(mount.id)
        if agent is None:
            if mount.required:
                hint = "--ssh default, with SSH_AUTH_SOCK set" if mount.id == "default" else f"--ssh {mount.id}=SOCKET"
                raise CarboyError(f"the ssh agent {mount.id} is required and was not given", hint=hint)
            return
        ids = (mount.uid, mount.gid) if self._on_disk else None
        proxy = AgentProxy(agent, self._new_folder(), mode=mount.mode, ids=ids)
        self._stack.enter_context(proxy)
        found.files.append(mount.target)
        found.mounts.append(spec.BindMount(source=proxy.path, target=mount.target, read_only=False, idmap="ids"))
        found.env.setdefault("SSH_AUTH_SOCK", mount.target)


def _discard(_: object) -> None:
    """Take a result that nobody needs."""
