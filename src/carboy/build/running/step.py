"""One RUN, from its operation to its layer."""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING

from carboy.base.fs import translate_os_errors
from carboy.build.running.advice import advise
from carboy.build.running.apt import read_apt_settings
from carboy.build.running.host import BUNDLE, hide_credentials, read_host_settings
from carboy.build.running.mounts import Mounting
from carboy.build.running.networks import StepNetworks
from carboy.build.running.rights import check_rights
from carboy.build.running.stubs import Stubs
from carboy.environments.connection import read_step_files
from carboy.errors import CarboyError
from carboy.layers.apply import commit_tree
from carboy.layers.batch import LayerResult
from carboy.linux.capabilities import ALL
from carboy.runtime.attend import attend
from carboy.runtime.errors import SandboxError
from carboy.runtime.hostfiles import read_host_files
from carboy.runtime.passing import Passing
from carboy.runtime.spec import NO_LIMITS, BindMount, FileMount, Limits, SandboxSpec, default_capabilities
from carboy.runtime.stdio import Stdio
from carboy.snapshots.snapshot import OverlayMount, open_container

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from carboy.base.home import Home
    from carboy.bootstrap.recipe import ArchiveSettings
    from carboy.build.copying.views import View
    from carboy.build.graph.ops import Origin, Run
    from carboy.build.graph.options import BuildOptions
    from carboy.build.running.below import Below
    from carboy.build.running.caches import CacheFolders
    from carboy.build.running.mounts import Mounted
    from carboy.linux.identity import Tier
    from carboy.runtime.sandbox import Runtime
    from carboy.store.store import Store

HOSTNAME = "buildkitsandbox"
TAIL_LINES = 30
MAX_LINE_BYTES = 2**14
_HIDDEN = b"***"


class StepFailedError(CarboyError):
    """A RUN whose command ended with a status other than 0: ``status``, and ``lines``, the last that it printed."""

    def __init__(self, op: Run, status: int, lines: list[str]) -> None:
        where = f"{op.location}\n{op.location.text}\n" if op.location is not None else ""
        said = "\n".join(lines)
        super().__init__(
            f"{op.title or 'RUN'}: the command ended with status {status}",
            details=f"{where}{said}".strip(),
            hint=advise(lines, status, user=op.user),
        )
        self.status = status
        self.lines = lines
        self.location = op.location


class StepRunner:
    """Runs steps, from any thread, each in a sandbox and a folder of its own.

    ``stop`` is a descriptor that becomes readable when all are to end. ``find_settings`` says what the home's configuration has
    of a distribution's archive.
    """

    def __init__(
        self,
        *,
        home: Home,
        runtime: Runtime,
        tier: Tier,
        caches: CacheFolders,
        options: BuildOptions,
        stop: int,
        find_settings: Callable[[str], ArchiveSettings] | None = None,
    ) -> None:
        self._find_settings = find_settings
        self._home = home
        self._runtime = runtime
        self._tier = tier
        self._caches = caches
        self._options = options
        self._stop = stop
        self._host = read_host_settings(options.environ)
        self._networks = StepNetworks(tier.name, options.network)

    def close(self) -> None:
        """Take away what the steps have shared. Raises ``OSError``."""
        self._networks.close()

    def run(
        self,
        op: Run,
        below: Below,
        views: Mapping[Origin, View],
        *,
        store: Store,
        log: Callable[[str], None],
        wait: Callable[[], None],
    ) -> LayerResult:
        """Run the command and return what it changed as a layer, durable in ``store``.

        ``log`` takes its lines, secrets taken out; ``wait`` is called while a cache is in use. Raises ``StepFailedError``,
        ``SandboxError`` when the sandbox cannot be made, ``CarboyError``.
        """
        check_rights(op, self._options)
        container_id = os.urandom(32).hex()
        with (
            translate_os_errors(f"run {op.title}"),
            store.layers.ingest_dir() as ingest,
            open_container(self._home, container_id) as container,
            ExitStack() as stack,
        ):
            container.claim([str(diff_id) for diff_id in below.chain])
            mounted = Mounting(
                op, folder=container.path, views=views, caches=self._caches, options=self._options,
                epoch_s=below.epoch_s, on_disk=self._tier.kind != "single", stack=stack, wait=wait,
            ).open()  # fmt: skip
            stubs_tree = f"{container.path}/stubs"
            os.mkdir(stubs_tree, 0o755)
            stubs = Stubs(stubs_tree, below.trees)
            addresses = self._add_host(op, below, mounted)
            stubs.make(mounted.folders, mounted.files)
            root = container.prepare([stubs_tree, *below.trees], userxattr=True)
            given = hide_credentials([*op.env, *op.unkeyed_env, *addresses])
            output = Output(log, [*mounted.hidden, *self._host.hidden, *given])
            network = self._choose_network(op, addresses, log)
            spec = self._plan(op, container_id, root, mounted, epoch_s=below.epoch_s, network=network)
            status = self._attend(op, spec, output, network=network)
            output.finish()
            if status:
                raise StepFailedError(op, status, output.lines)
            stubs.remove(root.upper)
            os.rename(root.upper, f"{ingest}/tree")
            single = store.kind == "single"
            owners = below.owners.restrict(f"{ingest}/tree", {}) if single else None
            return commit_tree(store, ingest, mtime_cap=below.epoch_s, owners=owners)

    def _add_host(self, op: Run, below: Below, mounted: Mounted) -> tuple[str, ...]:
        """Mount what the host's settings need, where the step mounts nothing itself; return what apt's settings name."""
        taken = {mount.target for mount in mounted.mounts}
        for source, target in self._host.binds:
            if target not in taken:
                (mounted.folders if os.path.isdir(source) else mounted.files).append(target)
                mounted.mounts.append(BindMount(source=source, target=target))
        bundle = BUNDLE if any(target == BUNDLE for _, target in self._host.binds) else ""
        apt = read_apt_settings(
            below.trees,
            op.args,
            self._options.environ,
            bundle=bundle,
            single=self._tier.kind == "single",
            find_settings=self._find_settings,
        )
        mounted.files += [file.target for file in apt.files]
        mounted.mounts += apt.files
        mounted.host |= {**dict(self._host.env), **dict(apt.env)}
        return apt.addresses

    def _choose_network(self, op: Run, addresses: tuple[str, ...], log: Callable[[str], None]) -> str:
        """Return "none", "host" or "private"; why it is not a network of the step's own is said once."""
        given = dict(item.split("=", 1) for item in op.unkeyed_env)
        reach, is_new = self._networks.choose(op, {**dict(self._host.env), **given}, addresses)
        if is_new and reach.network == "host" and self._tier.name == "root":
            log(f"on the host's network: {reach.reason}")
        return reach.network

    def _attend(self, op: Run, spec: SandboxSpec, output: Output, *, network: str) -> int:
        watcher = self._networks.connect(spec.id) if network == "private" else None
        try:
            with Passing(Stdio(capture=output.take), terminal=False) as passing:
                launched = lambda: self._runtime.launch(self._runtime.plan(spec), passing.child_fds)  # noqa: E731
                return attend(launched, passing, watcher=watcher, stop=self._stop)
        except SandboxError as error:
            if error.operation == "find the user":
                hint = "make it before, by RUN useradd or adduser, or use a number"
                raise CarboyError(f"{op.title or 'RUN'}: {error.reason}", hint=hint) from error
            if error.code not in {126, 127}:
                error.code = 1  # of the build, which is no container
                raise
            # As a shell says it, so that both forms of RUN fail alike.
            raise StepFailedError(op, error.code, [*output.lines, error.brief]) from error

    def _plan(
        self, op: Run, container_id: str, root: OverlayMount, mounted: Mounted, *, epoch_s: int, network: str
    ) -> SandboxSpec:
        insecure = op.security == "insecure"
        if network == "none":
            hosts = read_host_files(network=network, hostname=HOSTNAME)
        else:
            hosts = read_step_files(network=network, hostname=HOSTNAME)
        limits = NO_LIMITS
        if self._options.shm_bytes is not None or self._options.ulimits:
            limits = Limits(ulimits=self._options.ulimits)
            if self._options.shm_bytes is not None:
                limits = limits.replace(shm_bytes=self._options.shm_bytes)
        return SandboxSpec(
            id=container_id,
            root=root,
            args=op.args,
            tier=self._tier.name,
            id_count=self._tier.id_count,
            env=_merge_env(op, mounted, epoch_s),
            cwd=op.cwd,
            user=op.user,
            hostname=HOSTNAME,
            network="host" if network == "host" else "none",
            announce_network=network == "private",
            mounts=(*_add_hosts(hosts, self._options.add_hosts), *mounted.mounts),
            capabilities=ALL if insecure else default_capabilities("build"),
            seccomp="unconfined" if insecure else "",
            limits=limits,
        )


def _merge_env(op: Run, mounted: Mounted, epoch_s: int) -> tuple[str, ...]:
    """Return the process's environment: the step's own counts before what is added to it."""
    own = dict(item.split("=", 1) for item in op.env)
    added = {**mounted.host, **dict(item.split("=", 1) for item in op.unkeyed_env)}
    # Compilers, pip and py_compile then write no time of today into what the layer keeps: reproducible-builds.org.
    added.setdefault("SOURCE_DATE_EPOCH", str(epoch_s))
    secrets = {name: value for name, value in mounted.env.items() if name != "SSH_AUTH_SOCK" or name not in own}
    return tuple(f"{name}={value}" for name, value in {**added, **own, **secrets}.items())


def _add_hosts(files: tuple[FileMount, ...], hosts: tuple[tuple[str, str], ...]) -> tuple[FileMount, ...]:
    if not hosts:
        return files
    lines = "".join(f"{address}\t{name}\n" for name, address in hosts).encode()
    return tuple(
        file.replace(content=file.content.rstrip(b"\n") + b"\n" + lines) if file.target == "/etc/hosts" else file
        for file in files
    )


class Output:
    """Splits what a step prints into lines, takes secrets out of them, keeps the last, and passes them on."""

    def __init__(self, log: Callable[[str], None], hidden: list[bytes]) -> None:
        self._log = log
        self._hidden = sorted(hidden, key=len, reverse=True)
        self._rest = b""
        self.lines: list[str] = []

    def take(self, data: bytes) -> None:
        """Take what was printed; a line is passed on when it is whole, or very long."""
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            self._say(line)
        if len(self._rest) > MAX_LINE_BYTES:
            # What may be the beginning of a secret is not cut.
            rest = self._hide(self._rest)
            kept = max((len(secret) for secret in self._hidden), default=1) - 1
            self._rest = rest[len(rest) - kept :]
            self._say(rest[: len(rest) - kept])

    def finish(self) -> None:
        """Pass on what is left without a line's end."""
        if self._rest:
            self._say(self._rest)
            self._rest = b""

    def _hide(self, line: bytes) -> bytes:
        for secret in self._hidden:
            line = line.replace(secret, _HIDDEN)
        return line

    def _say(self, line: bytes) -> None:
        text = self._hide(line).decode("utf-8", "replace").rstrip("\r").rpartition("\r")[2]
        self.lines = [*self.lines[1 - TAIL_LINES :], text]
        self._log(text)
