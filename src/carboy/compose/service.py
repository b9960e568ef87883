"""One service of a project: from a mapping in long forms to a ``Service``: pure."""

from __future__ import annotations

import re
import shlex
from typing import TYPE_CHECKING

from carboy.compose.document.nodes import List, Map, Node, Scalar, describe_kind, issue_at, scalar_text
from carboy.compose.document.paths import is_remote
from carboy.compose.document.short import PROPAGATIONS, ShortFormError, check_address, parse_range
from carboy.compose.fields import Fields
from carboy.compose.model import (
    CONDITIONS,
    DEFAULT_NETWORK,
    Attachment,
    Build,
    Dependency,
    Grant,
    Healthcheck,
    Mount,
    Pairs,
    Port,
    Service,
    Ulimit,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

RESTARTS = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]{1,9})?", re.ASCII)
PULL_POLICIES = ("always", "never", "missing", "if_not_present", "build")
NETWORK_MODES = ("none", "host", "bridge", "private")
LOG_DRIVERS = ("json-file", "local", "none")

# Known to Compose and refused: each would change what the service is, so that leaving it out silently would be wrong.
_REFUSED = {
    "blkio_config": "containers have no limits on block devices",
    "cgroup": "a container has its own cgroup",
    "cgroup_parent": "carboy places containers itself",
    "cpu_count": "it is for Windows: use cpus",
    "cpu_percent": "it is for Windows: use cpus",
    "cpu_rt_period": "containers have no real-time budget",
    "cpu_rt_runtime": "containers have no real-time budget",
    "credential_spec": "it is for Windows",
    "device_cgroup_rules": "name each device under devices",
    "dns_opt": "a container's resolver has no options",
    "dns_search": "a container's resolver has no search list",
    "domainname": "use hostname",
    "external_links": "put both containers on one network",
    "group_add": "containers get the groups that the image gives their user",
    "ipc": "every container has its own IPC namespace",
    "isolation": "it is for Windows",
    "label_file": "write the labels under labels",
    "mac_address": "carboy chooses hardware addresses",
    "mem_swappiness": "use memswap_limit",
    "models": "start a model server as a service",
    "oom_kill_disable": "a container that cannot be stopped endangers the machine",
    "pid": "every container has its own process ids",
    "post_start": "run it in the command or in a service of its own",
    "pre_stop": "run it in the command or in a service of its own",
    "privileged": "it would remove every protection: use cap_add and devices for what is needed",
    "provider": "start what it provides as a service",
    "storage_opt": "a container's files have no quota",
    "use_api_socket": "there is no daemon and no socket",
    "userns_mode": "every container has its own user namespace",
    "uts": "every container has its own host name",
    "volumes_from": "name the volumes in both services",
}
_IGNORED = {
    "annotations": "containers keep labels, not annotations",
    "attach": "logs are shown by carboy compose logs",
    "cpu_shares": "processors are shared evenly; use cpus for a limit",
    "develop": "nothing is watched",
    "mem_reservation": "memory is not reserved; use mem_limit for a limit",
    "pull_refresh_after": "images are pulled when they are missing or always",
}
_SWARM = "it is for clusters; this is one machine"
_DEPLOY_IGNORED = {
    key: _SWARM for key in ("endpoint_mode", "labels", "placement", "rollback_config", "update_config")
}
_BUILD_REFUSED = {
    "additional_contexts": "copy the files into the context",
    "entitlements": "builds have no privileges",
    "privileged": "builds have no privileges",
    "secrets": "builds have no secrets yet",
    "ssh": "builds reach no SSH agent",
}
_BUILD_IGNORED = {
    "cache_from": "the build cache is local",
    "cache_to": "the build cache is local",
    "extra_hosts": "builds use the machine's names",
    "isolation": "it is for Windows",
    "shm_size": "builds have a fixed size",
    "ulimits": "builds have fixed limits",
}


def parse_service(name: str, fields: Fields, *, variables: Mapping[str, str]) -> Service:
    """Return a service; what is wrong is reported through ``fields``. ``environment`` lacks what ``env_file`` adds."""
    build = _build(fields, variables) if "build" in fields else None
    fields.take("build")
    image = fields.text("image")
    if not image and build is None:
        fields.error("", "it has neither image nor build")
    deploy = fields.fields("deploy")
    limits = deploy.fields("resources").fields("limits")
    network_mode = _network_mode(fields)
    log_driver, log_options = _logging(fields)
    service = Service(
        name=name,
        image=image,
        build=build,
        command=_command(fields, "command"),
        entrypoint=_command(fields, "entrypoint"),
        environment=_environment(fields, variables),
        ports=_ports(fields, network_mode),
        expose=_expose(fields),
        mounts=_mounts(fields),
        tmpfs=fields.strings("tmpfs"),
        networks=_networks(fields, network_mode),
        network_mode=network_mode,
        depends_on=_depends_on(fields),
        healthcheck=_healthcheck(fields),
        restart=_restart(fields, deploy),
        replicas=_replicas(fields, deploy),
        cpus=_cpus(fields, limits),
        cpuset=fields.text("cpuset"),
        memory_bytes=_agree(fields, "mem_limit", fields.size("mem_limit"), limits.size("memory")),
        memory_swap_bytes=_memory_swap(fields),
        shm_size_bytes=fields.size("shm_size"),
        pids_limit=_agree(fields, "pids_limit", fields.integer("pids_limit"), limits.integer("pids")),
        oom_score_adj=fields.integer("oom_score_adj"),
        ulimits=_ulimits(fields),
        profiles=fields.strings("profiles"),
        secrets=_grants(fields, "secrets", folder="/run/secrets/"),
        configs=_grants(fields, "configs", folder="/"),
        labels=fields.valued("labels"),
        user=fields.text("user"),
        working_dir=_absolute(fields, "working_dir"),
        hostname=fields.text("hostname"),
        container_name=_container_name(fields),
        stop_signal=fields.text("stop_signal"),
        stop_grace_period_s=fields.duration("stop_grace_period"),
        read_only=fields.switch("read_only"),
        cap_add=fields.strings("cap_add"),
        cap_drop=fields.strings("cap_drop"),
        security_opt=fields.strings("security_opt"),
        sysctls=fields.valued("sysctls"),
        extra_hosts=fields.strings("extra_hosts"),
        dns=_addresses(fields, "dns"),
        devices=_devices(fields),
        gpus=_gpus(fields, deploy),
        init=fields.switch("init"),
        tty=fields.switch("tty"),
        stdin_open=fields.switch("stdin_open"),
        platform=fields.text("platform"),
        runtime=fields.text("runtime"),
        pull_policy=fields.choice("pull_policy", PULL_POLICIES),
        log_driver=log_driver,
        log_options=log_options,
    )
    fields.take("env_file")
    fields.take("links")
    _finish_deploy(deploy, limits)
    fields.finish(ignored=_IGNORED, refused=_REFUSED)
    return service


def _finish_deploy(deploy: Fields, limits: Fields) -> None:
    mode = deploy.choice("mode", ("replicated", "global"))
    if mode == "global":
        deploy.warn("mode", "on one machine this is one replica")
    limits.finish()
    resources = deploy.fields("resources")
    resources.take("limits")
    reservations = resources.fields("reservations")
    reservations.take("devices")
    unreserved = dict.fromkeys(("cpus", "memory", "generic_resources"), "nothing is reserved; use limits")
    reservations.finish(ignored=unreserved)
    resources.finish()
    deploy.finish(ignored=_DEPLOY_IGNORED)


def _build(fields: Fields, variables: Mapping[str, str]) -> Build:
    build = fields.fields("build")
    context = build.text("context")
    if is_remote(context):
        build.error("context", "a context on another machine is not fetched: clone it and name the folder")
    dockerfile, inline = build.text("dockerfile"), build.text("dockerfile_inline")
    if dockerfile and inline:
        build.error("dockerfile_inline", "dockerfile is given as well")
    made = Build(
        context=context,
        dockerfile=dockerfile,
        dockerfile_inline=inline,
        args=tuple((name, variables.get(name) if value is None else value) for name, value in build.pairs("args")),
        target=build.text("target"),
        labels=build.valued("labels"),
        tags=build.strings("tags"),
        network=build.text("network"),
        no_cache=build.switch("no_cache"),
        pull=build.switch("pull"),
        platforms=build.strings("platforms"),
    )
    build.finish(refused=_BUILD_REFUSED, ignored=_BUILD_IGNORED)
    return made


def _command(fields: Fields, key: str) -> tuple[str, ...] | None:
    """Return a command: None for the image's own, empty for none; a text is split as a shell would."""
    node = fields.take(key)
    if node is None:
        return None
    if isinstance(node, List):
        return tuple(fields.strings(key)) if all(_is_word(item) for item in node.items) else _words(fields, key, node)
    if not isinstance(node, Scalar):
        fields.error(key, f"this is {describe_kind(node)}, where a text or a list belongs")
        return None
    try:
        return tuple(shlex.split(scalar_text(node)))
    except ValueError as error:
        fields.error(key, f"a shell could not split this: {str(error).lower()}")
        return None


def _is_word(node: Node) -> bool:
    return isinstance(node, Scalar) and bool(scalar_text(node))


def _words(fields: Fields, key: str, node: List) -> tuple[str, ...]:
    """Return the words of a list in which empty ones may stand: ``["sh", "-c", ""]``."""
    found = []
    for index, item in enumerate(node.items):
        if isinstance(item, Scalar):
            found.append(scalar_text(item))
        else:
            text = f"this is {describe_kind(item)}, where a text belongs"
            fields.report.error(issue_at(item, f"{fields.below(key)}[{index}]", text))
    return tuple(found)


def _environment(fields: Fields, variables: Mapping[str, str]) -> Pairs:
    """Return names and values; a name without a value takes the one of the environment, and is left out without any."""
    found = []
    for name, value in fields.pairs("environment"):
        known = variables.get(name) if value is None else value
        if known is not None:
            found.append((name, known))
    return tuple(found)


def _ports(fields: Fields, network_mode: str) -> tuple[Port, ...]:
    found = []
    for port in fields.maps("ports"):
        target, published = port.text("target"), port.text("published")
        protocol = port.text("protocol", "tcp").lower()
        if protocol not in {"tcp", "udp"}:
            port.error("protocol", f"{protocol!r} is neither tcp nor udp")
        port.choice("mode", ("host", "ingress"))
        for key in ("name", "app_protocol"):
            port.take(key)
        try:
            host_ip = check_address(port.text("host_ip"))
            first, last = parse_range(target)
            if first != last:
                raise ShortFormError(f"{target!r} is more than one port: write one entry for each")
            if published:
                parse_range(published)
        except ShortFormError as error:
            port.error("target" if target else "", str(error) if target else "it has no target")
            continue
        found.append(Port(target=first, published=published, host_ip=host_ip, protocol=protocol))
        port.finish()
    if found and network_mode == "host":
        fields.error("ports", "a service on the machine's own network publishes nothing: take ports or network_mode away")
    return tuple(found)


def _expose(fields: Fields) -> tuple[str, ...]:
    found = fields.strings("expose")
    for text in found:
        try:
            parse_range(re.sub(r"/(tcp|udp)$", "", text))
        except ShortFormError as error:
            fields.error("expose", str(error))
    return found


def _mounts(fields: Fields) -> tuple[Mount, ...]:
    found: dict[str, Mount] = {}
    for volume in fields.maps("volumes"):
        kind, target = volume.text("type"), volume.text("target")
        if kind not in {"bind", "volume", "tmpfs"}:
            volume.error("type", f"carboy does not support mounts of the type {kind!r}: it knows bind, volume, tmpfs")
            continue
        if not target.startswith("/"):
            volume.error("target", f"the target {target!r} is not an absolute path" if target else "it has no target")
            continue
        source = volume.text("source")
        if kind == "bind" and not source:
            volume.error("", "a bind mount needs a source")
        inner = {key: volume.fields(key) for key in ("bind", "volume", "tmpfs")}
        found[target] = Mount(
            kind=kind,
            target=target,
            source=source if kind != "tmpfs" else "",
            read_only=volume.switch("read_only"),
            propagation=inner["bind"].choice("propagation", PROPAGATIONS),
            create_host_path=inner["bind"].switch("create_host_path", default=False),
            nocopy=inner["volume"].switch("nocopy"),
            subpath=inner["volume"].text("subpath"),
            tmpfs_size_bytes=inner["tmpfs"].size("size"),
            tmpfs_mode=inner["tmpfs"].mode("mode"),
        )
        inner["bind"].finish(ignored={"selinux": "files get no labels", "recursive": "mounts below come along"})
        inner["volume"].finish(ignored={"labels": "write them under the project's volumes"})
        inner["tmpfs"].finish()
        volume.finish(ignored={"consistency": "there is no virtual machine in between"})
    return tuple(found.values())


def _network_mode(fields: Fields) -> str:
    mode = fields.text("network_mode")
    if mode and mode not in NETWORK_MODES:
        kinds = ", ".join(NETWORK_MODES)
        fields.error("network_mode", f"carboy does not support {mode!r}: it knows {kinds}; put both services on one network")
        return ""
    if mode and "networks" in fields:
        fields.error("network_mode", "networks is given as well")
    return "private" if mode == "bridge" else mode


def _networks(fields: Fields, network_mode: str) -> tuple[Attachment, ...]:
    if "networks" not in fields:
        fields.take("networks")
        return () if network_mode else (Attachment(network=DEFAULT_NETWORK),)
    found = []
    for name, network in fields.table("networks"):
        attachment = Attachment(
            network=name,
            aliases=network.strings("aliases"),
            ipv4_address=_address(network, "ipv4_address"),
            ipv6_address=_address(network, "ipv6_address"),
        )
        refused = dict.fromkeys(("interface_name", "link_local_ips", "mac_address"), "carboy chooses these")
        ignored = dict.fromkeys(("priority", "gw_priority", "driver_opts"), "networks are joined in order")
        network.finish(refused=refused, ignored=ignored)
        found.append(attachment)
    return tuple(found)


def _address(fields: Fields, key: str) -> str:
    try:
        return check_address(fields.text(key))
    except ShortFormError as error:
        fields.error(key, str(error))
        return ""


def _addresses(fields: Fields, key: str) -> tuple[str, ...]:
    found = fields.strings(key)
    for text in found:
        try:
            check_address(text)
        except ShortFormError as error:
            fields.error(key, str(error))
    return found


def _depends_on(fields: Fields) -> tuple[Dependency, ...]:
    found = []
    for name, dependency in fields.table("depends_on"):
        found.append(
            Dependency(
                service=name,
                condition=dependency.choice("condition", CONDITIONS) or CONDITIONS[0],
                required=dependency.switch("required", default=True),
                restart=dependency.switch("restart"),
            )
        )
        dependency.finish()
    return tuple(found)


def parse_links(fields: Fields) -> tuple[tuple[str, str], ...]:
    """Return the services of ``links`` and the further name of each, empty where there is none."""
    links = (text.partition(":") for text in fields.strings("links"))
    return tuple((service, alias) for service, _, alias in links)


def _healthcheck(fields: Fields) -> Healthcheck | None:
    if "healthcheck" not in fields:
        fields.take("healthcheck")
        return None
    check = fields.fields("healthcheck")
    node = check.take("test")
    test: tuple[str, ...] = ()
    if isinstance(node, Scalar):
        test = ("CMD-SHELL", scalar_text(node))
    elif isinstance(node, List):
        test = _words(check, "test", node)
        if not test or test[0] not in {"NONE", "CMD", "CMD-SHELL"}:
            check.error("test", "a list begins with CMD, CMD-SHELL or NONE")
        elif test[0] != "NONE" and len(test) == 1:
            check.error("test", f"{test[0]} is followed by no command")
    if check.switch("disable"):
        test = ("NONE",)
    made = Healthcheck(
        test=test,
        interval_s=check.duration("interval"),
        timeout_s=check.duration("timeout"),
        start_period_s=check.duration("start_period"),
        start_interval_s=check.duration("start_interval"),
        retries=check.integer("retries"),
    )
    check.finish()
    return made


def _restart(fields: Fields, deploy: Fields) -> str:
    """Return the restart policy; ``deploy.restart_policy`` counts where ``restart`` says nothing."""
    text = fields.text("restart")
    if text and not RESTARTS.fullmatch(text):
        fields.error("restart", f"{text!r} is none of no, always, unless-stopped, on-failure[:times]")
    policy = deploy.fields("restart_policy")
    condition = policy.choice("condition", ("none", "on-failure", "any"))
    attempts = policy.integer("max_attempts")
    policy.finish(ignored=dict.fromkeys(("delay", "window"), "the delay grows with each restart"))
    if text or "restart_policy" not in deploy:
        return text
    if condition == "on-failure":
        return f"on-failure:{attempts}" if attempts else "on-failure"
    return "no" if condition == "none" else "always"


def _replicas(fields: Fields, deploy: Fields) -> int:
    scale = _agree(fields, "scale", fields.integer("scale"), deploy.integer("replicas"))
    if scale is not None and not 0 <= scale <= 1000:
        fields.error("scale", f"{scale} is not a number of containers between 0 and 1000")
        return 1
    return 1 if scale is None else scale


def _agree(fields: Fields, key: str, own: int | None, deployed: int | None) -> int | None:
    """Return the one value of a key that ``deploy`` has as well."""
    if own is not None and deployed is not None and own != deployed:
        fields.error(key, f"deploy says {deployed}, this {own}")
    return deployed if own is None else own


def _cpus(fields: Fields, limits: Fields) -> str:
    own, deployed = fields.cpus("cpus"), limits.cpus("cpus")
    if own and deployed and own != deployed:
        fields.error("cpus", f"deploy says {deployed}, this {own}")
    quota, period = fields.integer("cpu_quota"), fields.integer("cpu_period")
    if quota is None or quota <= 0:
        return own or deployed
    if own or deployed:
        fields.error("cpu_quota", "cpus is given as well")
    return f"{quota / (period or 100_000):.3f}".rstrip("0").rstrip(".")


def _memory_swap(fields: Fields) -> int | None:
    return -1 if fields.text("memswap_limit") == "-1" else fields.size("memswap_limit")


def _ulimits(fields: Fields) -> tuple[Ulimit, ...]:
    inner = fields.fields("ulimits")
    found = []
    for name in inner.names():
        node = inner.take(name)
        if isinstance(node, Map):
            both = inner.fields(name)
            soft, hard = both.integer("soft"), both.integer("hard")
            both.finish()
        else:
            soft = hard = inner.integer(name)
        if soft is None or hard is None:
            inner.error(name, "a limit is a number, or a mapping with soft and hard")
            continue
        found.append(Ulimit(name=name, soft=soft, hard=hard))
    return tuple(found)


def _grants(fields: Fields, key: str, *, folder: str) -> tuple[Grant, ...]:
    found = []
    for grant in fields.maps(key):
        source = grant.text("source")
        target = grant.text("target", source)
        if not source:
            grant.error("", "it has no source")
            continue
        found.append(
            Grant(
                source=source,
                target=target if target.startswith("/") else folder + target,
                uid=grant.integer("uid"),
                gid=grant.integer("gid"),
                mode=grant.mode("mode"),
            )
        )
        grant.finish()
    return tuple(found)


def _absolute(fields: Fields, key: str) -> str:
    path = fields.text(key)
    if path and not path.startswith("/"):
        fields.error(key, f"{path!r} is not an absolute path")
    return path


def _container_name(fields: Fields) -> str:
    name = fields.text("container_name")
    if name and not re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name, re.ASCII):
        fields.error("container_name", f"{name!r} cannot be the name of a container")
    return name


def _devices(fields: Fields) -> tuple[str, ...]:
    """Return devices as ``--device`` takes them: ``source[:target[:permissions]]``."""
    found = []
    for index, item in enumerate(fields.items("devices")):
        if isinstance(item, Scalar):
            found.append(scalar_text(item))
            continue
        device = Fields(item, f"{fields.below('devices')}[{index}]", fields.report)
        source, target, permissions = device.text("source"), device.text("target"), device.text("permissions")
        if not source:
            device.error("", "it has no source")
        parts = [source, target or (source if permissions else ""), permissions]
        found.append(":".join(part for part in parts if part))
        device.finish()
    return tuple(found)


def _gpus(fields: Fields, deploy: Fields) -> str:
    """Return what ``--gpus`` takes: ``all``, a number, or ``device=0,1``; empty for none."""
    node = fields.take("gpus")
    if isinstance(node, Scalar):
        if scalar_text(node) != "all":
            fields.error("gpus", "this is neither all nor a list")
        return "all"
    requests = [*fields.maps("gpus"), *deploy.fields("resources").fields("reservations").maps("devices")]
    found = ""
    for request in requests:
        capabilities = request.strings("capabilities")
        ids, count = request.strings("device_ids"), request.text("count", "all")
        request.choice("driver", ("nvidia", "cdi"))
        if node is None and "gpu" not in capabilities:
            request.error("capabilities", "carboy reserves devices with the capability gpu only")
        request.finish(ignored={"options": "drivers get no options"})
        found = f"device={','.join(ids)}" if ids else ("all" if count in {"all", "-1"} else count)
    return found


def _logging(fields: Fields) -> tuple[str, Pairs]:
    logging = fields.fields("logging")
    driver = logging.text("driver")
    if driver and driver not in LOG_DRIVERS:
        logging.error("driver", f"carboy does not support {driver!r}: it knows {', '.join(LOG_DRIVERS)}")
    options = logging.valued("options")
    for name, _ in options:
        if name not in {"max-size", "max-file"}:
            logging.warn("options", f"{name} has no effect")
    logging.finish()
    return driver, tuple(pair for pair in options if pair[0] in {"max-size", "max-file"})
