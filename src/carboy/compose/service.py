"""One service of a project: from a mapping in long forms to a ``Service``: pure."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.compose.attachments import (
    parse_addresses,
    parse_expose,
    parse_grants,
    parse_mounts,
    parse_network_mode,
    parse_networks,
    parse_ports,
)
from carboy.compose.build import parse_build
from carboy.compose.document.nodes import List, Node, Scalar, describe_kind, issue_at, scalar_text
from carboy.compose.fields import Fields
from carboy.compose.model import CONDITIONS, Dependency, Healthcheck, Pairs, Service
from carboy.compose.resources import (
    agree,
    finish_deploy,
    parse_cpu_limit,
    parse_devices,
    parse_gpus,
    parse_memory_swap,
    parse_replicas,
    parse_restart,
    parse_ulimits,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

PULL_POLICIES = ("always", "never", "missing", "if_not_present", "build")
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


def parse_service(name: str, fields: Fields, *, variables: Mapping[str, str]) -> Service:
    """Return a service; what is wrong is reported through ``fields``. ``environment`` lacks what ``env_file`` adds."""
    build = parse_build(fields, variables) if "build" in fields else None
    fields.take("build")
    image = fields.text("image")
    if not image and build is None:
        fields.error("", "it has neither image nor build")
    deploy = fields.fields("deploy")
    network_mode = parse_network_mode(fields)
    log_driver, log_options = _logging(fields)
    service = Service(
        name=name,
        image=image,
        build=build,
        command=_command(fields, "command"),
        entrypoint=_command(fields, "entrypoint"),
        environment=_environment(fields, variables),
        ports=parse_ports(fields, network_mode),
        expose=parse_expose(fields),
        mounts=parse_mounts(fields),
        tmpfs=fields.strings("tmpfs"),
        networks=parse_networks(fields, network_mode),
        network_mode=network_mode,
        depends_on=_depends_on(fields),
        healthcheck=_healthcheck(fields),
        restart=parse_restart(fields, deploy),
        profiles=fields.strings("profiles"),
        secrets=parse_grants(fields, "secrets", folder="/run/secrets/"),
        configs=parse_grants(fields, "configs", folder="/"),
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
        dns=parse_addresses(fields, "dns"),
        init=fields.switch("init"),
        tty=fields.switch("tty"),
        stdin_open=fields.switch("stdin_open"),
        platform=fields.text("platform"),
        runtime=fields.text("runtime"),
        pull_policy=fields.choice("pull_policy", PULL_POLICIES),
        log_driver=log_driver,
        log_options=log_options,
    )
    service = _with_resources(service, fields, deploy)
    fields.take("env_file")
    fields.take("links")
    fields.finish(ignored=_IGNORED, refused=_REFUSED)
    return service


def _with_resources(service: Service, fields: Fields, deploy: Fields) -> Service:
    """Return the service with its share of the machine; ``deploy`` is read to its end."""
    limits = deploy.fields("resources").fields("limits")
    made = replace(
        service,
        replicas=parse_replicas(fields, deploy),
        cpus=parse_cpu_limit(fields, limits),
        cpuset=fields.text("cpuset"),
        memory_bytes=agree(fields, "mem_limit", fields.size("mem_limit"), limits.size("memory")),
        memory_swap_bytes=parse_memory_swap(fields),
        shm_size_bytes=fields.size("shm_size"),
        pids_limit=agree(fields, "pids_limit", fields.integer("pids_limit"), limits.integer("pids")),
        oom_score_adj=fields.integer("oom_score_adj"),
        ulimits=parse_ulimits(fields),
        devices=parse_devices(fields),
        gpus=parse_gpus(fields, deploy),
    )
    finish_deploy(deploy, limits)
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


def _logging(fields: Fields) -> tuple[str, Pairs]:
    inner = fields.fields("logging")
    driver = inner.text("driver")
    if driver and driver not in LOG_DRIVERS:
        inner.error("driver", f"carboy does not support {driver!r}: it knows {', '.join(LOG_DRIVERS)}")
    options = inner.valued("options")
    for name, _ in options:
        if name not in {"max-size", "max-file"}:
            inner.warn("options", f"{name} has no effect")
    inner.finish()
    return driver, tuple(pair for pair in options if pair[0] in {"max-size", "max-file"})
