"""How much of the machine a service may use, and how many of it there are: pure."""

from __future__ import annotations

import re

from carboy.compose.document.nodes import Map, Scalar, scalar_text
from carboy.compose.fields import Fields
from carboy.compose.model import Ulimit

RESTARTS = re.compile(r"no|always|unless-stopped|on-failure(:[0-9]{1,9})?", re.ASCII)
_SWARM = "it is for clusters; this is one machine"
_DEPLOY_IGNORED = dict.fromkeys(("endpoint_mode", "labels", "placement", "rollback_config", "update_config"), _SWARM)


def finish_deploy(deploy: Fields, limits: Fields) -> None:
    """Name what ``deploy`` has that one machine cannot use; everything else in it has been read."""
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


def parse_restart(fields: Fields, deploy: Fields) -> str:
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


def parse_replicas(fields: Fields, deploy: Fields) -> int:
    """Return the number of containers."""
    scale = agree(fields, "scale", fields.integer("scale"), deploy.integer("replicas"))
    if scale is not None and not 0 <= scale <= 1000:
        fields.error("scale", f"{scale} is not a number of containers between 0 and 1000")
        return 1
    return 1 if scale is None else scale


def agree(fields: Fields, key: str, own: int | None, deployed: int | None) -> int | None:
    """Return the one value of a key that ``deploy`` has as well."""
    if own is not None and deployed is not None and own != deployed:
        fields.error(key, f"deploy says {deployed}, this {own}")
    return deployed if own is None else own


def parse_cpu_limit(fields: Fields, limits: Fields) -> str:
    """Return the number of processors, as text: ``cpus``, ``deploy``'s limit, or a quota of a period."""
    own, deployed = fields.cpus("cpus"), limits.cpus("cpus")
    if own and deployed and own != deployed:
        fields.error("cpus", f"deploy says {deployed}, this {own}")
    quota, period = fields.integer("cpu_quota"), fields.integer("cpu_period")
    if quota is None or quota <= 0:
        return own or deployed
    if own or deployed:
        fields.error("cpu_quota", "cpus is given as well")
    return f"{quota / (period or 100_000):.3f}".rstrip("0").rstrip(".")


def parse_memory_swap(fields: Fields) -> int | None:
    """Return the limit of memory and swap together in bytes, -1 for none."""
    return -1 if fields.text("memswap_limit") == "-1" else fields.size("memswap_limit")


def parse_ulimits(fields: Fields) -> tuple[Ulimit, ...]:
    """Return the resource limits; one number is both limits."""
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


def parse_devices(fields: Fields) -> tuple[str, ...]:
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


def parse_gpus(fields: Fields, deploy: Fields) -> str:
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
