"""Containers that outlive their process: made, and started with a supervisor of their own."""

from __future__ import annotations

import _socket
import marshal
import os
import time

from carboy.base.proc import spawn_own
from carboy.containers.client import attend_kept, terminal_size, wait_started
from carboy.containers.control import Connection
from carboy.containers.events import write_container_event
from carboy.containers.names import claim_name, read_name, release_claimed, write_name
from carboy.containers.record import ContainerConfig, ContainerState, read_json, write_record
from carboy.containers.removal import release_volumes, remove_stale
from carboy.containers.restart import check_policy
from carboy.engine.containers.network import check_network, describe_network, find_default_network
from carboy.engine.containers.request import plan_config
from carboy.engine.containers.sandbox import check_memory, find_trees, make_container_mounts, plan_sandbox, settle
from carboy.engine.launch import normal_name, read_launch_record
from carboy.errors import CarboyError
from carboy.runtime.passing import Passing
from carboy.snapshots import snapshot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from carboy.engine.containers.manage import ContainerView
    from carboy.engine.containers.request import RunRequest
    from carboy.engine.context import Engine
    from carboy.runtime.stdio import Stdio
    from carboy.snapshots.snapshot import Container


def create_container(engine: Engine, name: str, request: RunRequest, *, manifest: str | None = None) -> str:
    """Make a container of the image ``name`` (or of the manifest digest given) and return its id; it does not run yet.

    All or nothing: when it fails there is no container. Raises ``CarboyError`` (125).
    """
    home = engine.home
    check_policy(request.restart)
    if request.auto_remove and request.restart != "no":
        raise CarboyError(
            "a container cannot both be removed and restarted at its end", hint="leave out --rm", code=125
        )
    request = settle(request, engine)
    remove_stale(home)
    container_id = os.urandom(32).hex()
    with snapshot.open_container(home, container_id) as container:
        record = read_launch_record(engine, name, manifest=manifest)
        container.claim(record.layers)
        config = plan_config(
            request,
            record,
            container_id=container_id,
            image=name if manifest else normal_name(name),
            manifest=record.manifest,
            now_s=time.time(),
            network=request.network or find_default_network(engine, runtime=request.runtime),
            term=engine.environ.get("TERM", "xterm"),
        )
        check_network(config, home=home, tier=engine.tier.name)
        given = ""
        container.hand_over()  # until the name is free again: a second Ctrl-C leaves the folder, which tells of the name
        try:
            given = claim_name(home, container_id, request.name)
            write_name(container.path, given)
            if config.mounts or config.volumes:
                config = config.replace(mounts=make_container_mounts(engine, config))
            write_record(container.path, "config", config)
            write_record(container.path, "state", ContainerState(status="created"))
            container.keep()
            write_container_event(container.path, "create", name=given, image=config.image)
        except BaseException:
            container.forsake()  # Ctrl-C can come behind `keep`, too: without this, a container would stay that has no name
            release_claimed(home, given, owner=container_id)
            release_volumes(home.path, container_id, remove_anonymous=True)
            container.take_back()
            raise
    return container_id


def start_container(engine: Engine, container_id: str, *, stdio: Stdio | None = None) -> int | None:
    """Start a container that does not run; returns when its command has been executed.

    With ``stdio`` the caller is attached from the first byte on, and the exit status is returned when it ends. Raises
    ``CarboyError``: 125 when it runs already or the sandbox cannot be made, 126 or 127 for its command, and
    ``OutOfMemoryError`` (137) when the caller is attached and the kernel killed its process for want of memory.
    """
    container = snapshot.lock_container(engine.home, container_id)
    if container is None:
        from carboy.engine.containers.manage import lock_ended

        container = lock_ended(engine.home, container_id)
    if container is None:
        raise CarboyError(f"the container {container_id[:12]} is running already", code=125)
    with container:
        config = read_config(container.path)
        job = _plan_job(engine, container, config, stdio)
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        connection = Connection(ours)
        if stdio is None:
            _spawn(job, {4: theirs.fileno(), 5: container.lock})
            theirs.close()
            container.hand_over()
            wait_started(connection)
            connection.close()
            return None
        with Passing(stdio, terminal=False, direct=False) as passing:
            child = passing.child_fds
            fds = {4: theirs.fileno(), 5: container.lock, 6: child[1], 7: child[2]}
            _spawn(job, {**fds, **({8: child[0]} if 0 in child else {})})
            theirs.close()
            container.hand_over()
            passing.close_child_ends()
            status = attend_kept(connection, passing, tty=config.tty and bool(job["size"]))
        state = read_json(f"{container.path}/state.json")
        check_memory(status, oom_killed=bool(state and state.get("oom_killed")), config=config)
        return status


def restart_container(engine: Engine, view: ContainerView) -> None:
    """Start a container again that was stopped for that. Raises ``CarboyError`` as :func:`start_container`."""
    start_container(engine, view.id)
    write_container_event(view.folder, "restart", image=view.config.image)


def read_config(folder: str) -> ContainerConfig:
    """Return what a container is. Raises ``CarboyError`` (125) when its record is gone or damaged."""
    value = read_json(f"{folder}/config.json")
    if value is None:
        raise CarboyError("the container's record is damaged", details=folder, hint="remove it: carboy rm -f", code=125)
    return ContainerConfig.from_json(value)


def _plan_job(engine: Engine, container: Container, config: ContainerConfig, stdio: Stdio | None) -> dict[str, Any]:
    root = container.prepare(find_trees(engine, config), userxattr=True)
    runtime = engine.runtime_for(config.runtime)
    health = {
        "test": list(config.health_test),
        "interval_s": config.health_interval_s,
        "timeout_s": config.health_timeout_s,
        "start_s": config.health_start_s,
        "start_interval_s": config.health_start_interval_s,
        "retries": config.health_retries,
    }
    return {
        "home": engine.home.path,
        "folder": container.path,
        "plan": runtime.plan(plan_sandbox(config, root=root, engine=engine)),
        "image": config.image,
        "tty": config.tty,
        "interactive": config.interactive,
        "attached": stdio is not None,
        "ends_input": stdio is not None and not config.tty,
        "size": None if stdio is None or not config.tty else terminal_size(stdio),
        "restart": config.restart,
        "auto_remove": config.auto_remove,
        "log_bytes": config.log_bytes,
        "log_files": config.log_files,
        "health": health if config.health_test else None,
        "network": describe_network(config, name=read_name(container.path), home=engine.home, tier=engine.tier.name),
    }


def _spawn(job: dict[str, Any], fds: dict[int, int]) -> None:
    """Start the supervisor; it is nobody's child, because nobody waits for it."""
    read, write = os.pipe2(os.O_CLOEXEC)
    try:
        between = os.fork()
        if between == 0:
            try:
                spawn_own("carboy.containers.supervisor", fds={**fds, 3: read})
                os._exit(0)
            finally:
                os._exit(1)
    finally:
        os.close(read)
    _, status = os.waitpid(between, 0)
    with open(write, "wb") as file:
        if status:
            raise CarboyError("the container's supervisor cannot be started", code=125)
        file.write(marshal.dumps(job))
