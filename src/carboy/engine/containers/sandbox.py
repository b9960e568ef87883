"""From a container to its sandbox: the one place where what was asked for becomes what is made."""

from __future__ import annotations

import os

from carboy.engine.containers.network import find_default, find_name_servers
from carboy.engine.containers.request import asks_more
from carboy.engine.launch import read_launch_record
from carboy.errors import CarboyError
from carboy.runtime.hostfiles import read_host_files
from carboy.runtime.spec import NO_LIMITS, SandboxSpec, default_capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.containers.record import ContainerConfig
    from carboy.engine.containers.request import RunRequest
    from carboy.engine.context import Engine
    from carboy.runtime.spec import BindMount, Device, FileMount, Limits, TmpfsMount
    from carboy.snapshots.snapshot import OverlayMount

KILLED = 128 + 9


def settle(request: RunRequest, engine: Engine) -> RunRequest:
    """Return the request with its runtime chosen and what it names of the caller's files settled.

    Raises ``CarboyError`` (125).
    """
    runtime = request.runtime or find_default(engine, "runtime")
    if runtime not in {"", "native"}:
        from carboy.runtime.kinds import runtime_of

        runtime_of(runtime, engine.home)  # raises when it is not here
        request = request.replace(runtime=runtime)
    if request.hostname is None and not asks_more(request):
        return request
    from carboy.engine.containers.options.additions import settle_request

    return settle_request(request, tier=engine.tier.name, id_count=engine.tier.id_count, cwd=os.getcwd())


def plan_sandbox(
    config: ContainerConfig,
    *,
    root: OverlayMount,
    engine: Engine,
    accounting: bool = True,
) -> SandboxSpec:
    """Return the sandbox of a container over ``root``.

    ``accounting``: see ``SandboxSpec``. Raises ``CarboyError`` (125) for what was asked for and cannot be read.
    """
    spec = SandboxSpec(
        id=config.id,
        root=root,
        args=config.args,
        env=config.env,
        cwd=config.workdir,
        user=config.user,
        hostname=config.hostname,
        network="host" if config.network == "host" else "none",
        announce_network=bool(config.publish) or config.network not in {"none", "host"},
        mounts=(
            *_host_files(config),
            *_mounts(config, engine),
        ),
        terminal=config.tty,
        capabilities=plan_capabilities(config),
        read_only_root=config.read_only,
        limits=_limits(config),
        devices=_devices(config),
        accounting=accounting,
        tier=engine.tier.name,
        id_count=engine.tier.id_count,
    )
    if not asks_more(config):
        return spec
    from carboy.engine.containers.options.additions import add_to_spec

    return add_to_spec(spec, config)


def _host_files(config: ContainerConfig) -> tuple[FileMount, ...]:
    return read_host_files(
        network=config.network,
        hostname=config.hostname,
        name_servers=find_name_servers(config),
        # The names of one that somebody made are looked up as they are.
        has_search=config.network == "private" and not config.more_networks,
    )


def _limits(config: ContainerConfig) -> Limits:
    if not config.limits:
        return NO_LIMITS
    from carboy.engine.containers.limits import parse_limits

    return parse_limits(config.limits)


def _mounts(config: ContainerConfig, engine: Engine) -> tuple[BindMount | TmpfsMount, ...]:
    if not config.mounts:
        return ()
    from carboy.engine.containers.volumes import open_mounts

    return open_mounts(engine.home, config.mounts)


def _devices(config: ContainerConfig) -> tuple[Device, ...]:
    if not config.devices:
        return ()
    from carboy.engine.containers.limits import parse_devices
    from carboy.runtime.cdi import is_qualified

    return parse_devices([text for text in config.devices if not is_qualified(text)])


def find_trees(engine: Engine, config: ContainerConfig) -> tuple[str, ...]:
    """Return the unpacked layers of a container, lowest first; those that are not there are unpacked again.

    Raises ``CarboyError`` (125) when the image is gone as well.
    """
    layers = engine.store.layers
    if not all(layers.has_hex(layer.partition(":")[2]) for layer in config.layers):
        read_launch_record(engine, config.image, manifest=config.manifest)
    return tuple(layers.path_of_hex(layer.partition(":")[2]) for layer in config.layers)


def check_memory(status: int, *, oom_killed: bool, config: ContainerConfig) -> None:
    """Raise ``OutOfMemoryError`` when a container ended with ``status`` because the kernel killed its process for memory."""
    if status == KILLED and oom_killed:
        from carboy.runtime.errors import OutOfMemoryError

        raise OutOfMemoryError(_limits(config).memory_bytes)


def plan_capabilities(config: ContainerConfig) -> frozenset[str]:
    """Return the capabilities of a container: the default ones, less what is dropped, with what is added. Pure.

    Raises ``CarboyError`` (125) for names that there are not.
    """
    default = default_capabilities("run")
    if not config.cap_add and not config.cap_drop:
        return default
    from carboy.linux.capabilities import parse

    try:
        drop, add = parse(config.cap_drop), parse(config.cap_add)
    except ValueError as error:
        raise CarboyError(
            str(error), hint="names are those of capabilities(7), without CAP_; ALL is every one", code=125
        ) from error
    return (default - drop) | add


def make_container_mounts(engine: Engine, config: ContainerConfig) -> tuple[tuple[str, str], ...]:
    """Return the mounts of a new container for its record, its volumes made, filled and noted as used."""
    from carboy.engine.containers.volumes import make_mounts

    lowers = tuple(engine.store.layers.path_of_hex(layer.partition(":")[2]) for layer in config.layers)
    mounts = config.mounts
    if any(option == "data" for option, _ in mounts):
        from carboy.engine.containers.data import bring_data

        mounts = bring_data(engine, config.id, mounts)
    return make_mounts(
        engine.home,
        config.id,
        mounts,
        image_volumes=config.volumes,
        lowers=lowers,
        keep_owners=engine.tier.name != "single",
        cwd=os.getcwd(),
    )
