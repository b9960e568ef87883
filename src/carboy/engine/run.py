"""``carboy run``: one foreground process in a sandbox, its exit status kept, nothing left behind."""

from __future__ import annotations

import os

from carboy.engine.launch import read_launch_record
from carboy.errors import CarboyError
from carboy.runtime.hostfiles import read_host_files
from carboy.runtime.native.launch import Stdio
from carboy.runtime.spec import SandboxSpec, default_capabilities
from carboy.snapshots import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.engine.context import Engine
    from carboy.engine.launch import LaunchRecord
    from carboy.snapshots.snapshot import OverlayMount

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
DEFAULT_PIDS_LIMIT = 4096


class RunRequest:
    """What the caller of ``run`` asks for, over the image's own defaults.

    ``arguments`` replace the image's command; ``entrypoint`` replaces its entry point (and drops its command, as Docker
    does); ``env`` items are added last; ``network`` is "none" or "host"; ``interactive`` passes standard input on;
    ``terminal`` gives the process a terminal of its own.
    """

    __slots__ = (
        "arguments",
        "entrypoint",
        "env",
        "hostname",
        "interactive",
        "network",
        "read_only",
        "terminal",
        "user",
        "workdir",
    )

    def __init__(
        self,
        *,
        arguments: Sequence[str] = (),
        entrypoint: str | None = None,
        env: Mapping[str, str] | None = None,
        hostname: str | None = None,
        interactive: bool = False,
        network: str = "none",
        read_only: bool = False,
        terminal: bool = False,
        user: str | None = None,
        workdir: str | None = None,
    ) -> None:
        self.arguments = tuple(arguments)
        self.entrypoint = entrypoint
        self.env = dict(env or {})
        self.hostname = hostname
        self.interactive = interactive
        self.network = network
        self.read_only = read_only
        self.terminal = terminal
        self.user = user
        self.workdir = workdir


def run_image(engine: Engine, name: str, request: RunRequest, *, manifest: str | None = None) -> int:
    """Run the image ``name`` (or the manifest digest given) as asked and return its exit status.

    The writable layer is removed when the process ends, however it ends. Raises ``CarboyError`` with code 125 when the
    sandbox cannot be made, 126 or 127 when the command cannot be executed or is not there.
    """
    snapshot.remove_stale(engine.home)
    container_id = os.urandom(32).hex()
    with snapshot.open_container(engine.home, container_id) as container:
        # The container's lock is held before its layers are looked up, so that a concurrent clean-up either sees
        # this container's claim or has already removed the layer, which the look-up then unpacks again.
        record = read_launch_record(engine, name, manifest=manifest)
        container.claim(record.layers)
        trees = tuple(engine.store.layers.path_of_hex(layer.partition(":")[2]) for layer in record.layers)
        root = container.prepare(trees, userxattr=True)
        spec = plan_sandbox(container_id, root=root, record=record, request=request, engine=engine)
        stdio = Stdio(stdin=0 if request.interactive else None, stdout=1, stderr=2, terminal=request.terminal)
        return engine.runtime().run(spec, stdio)


def plan_sandbox(
    container_id: str, *, root: OverlayMount, record: LaunchRecord, request: RunRequest, engine: Engine
) -> SandboxSpec:
    """Return the sandbox of one run: the image's defaults under what the caller asks for. Pure.

    The environment is laid down in Docker's order: a default PATH, HOME by the runtime, the image's, the caller's.
    """
    arguments = _command(record, request)
    env = {"PATH": DEFAULT_PATH, "HOSTNAME": request.hostname or container_id[:12]}
    if request.terminal:
        env["TERM"] = engine.environ.get("TERM", "xterm")
    for item in record.env:
        name, _, value = item.partition("=")
        env[name] = value
    env.update(request.env)
    return SandboxSpec(
        id=container_id,
        root=root,
        args=arguments,
        env=tuple(f"{name}={value}" for name, value in env.items()),
        cwd=request.workdir or record.workdir or "/",
        user=record.user if request.user is None else request.user,
        hostname=request.hostname or container_id[:12],
        network=request.network,
        mounts=read_host_files(network=request.network, hostname=request.hostname or container_id[:12]),
        terminal=request.terminal,
        capabilities=default_capabilities("run"),
        read_only_root=request.read_only,
        pids_limit=DEFAULT_PIDS_LIMIT,
        tier=engine.tier.name,
        id_count=engine.tier.id_count,
    )


def _command(record: LaunchRecord, request: RunRequest) -> tuple[str, ...]:
    if request.entrypoint is not None:
        entrypoint: tuple[str, ...] = (request.entrypoint,) if request.entrypoint else ()
        command = request.arguments
    else:
        entrypoint, command = record.entrypoint, request.arguments or record.cmd
    if not entrypoint + command:
        raise CarboyError(
            "the image has no command of its own",
            hint="say what to run: carboy run IMAGE COMMAND [ARGUMENTS]",
            code=125,
        )
    return entrypoint + command
