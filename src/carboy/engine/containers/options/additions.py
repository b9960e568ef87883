"""What few containers ask for: groups, kernel settings, security options, secrets, more hosts, devices by name.

Twice: when a container is made, everything is checked and made to stand by itself (:func:`settle_request`); when it starts, it
becomes a part of the sandbox (:func:`add_to_spec`), on a machine that may have changed since. Containers that ask for none
of this do not import it.
"""

from __future__ import annotations

import _socket
import os

from carboy.engine.containers.options.security import parse_security, read_security
from carboy.errors import CarboyError
from carboy.runtime.cdi import find_edits, is_qualified, read_documents
from carboy.runtime.secrets import MAX_SECRET_BYTES, MAX_SECRETS_BYTES, parse_secret
from carboy.runtime.spec import FileMount
from carboy.runtime.sysctls import check_sysctls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from carboy.containers.record import ContainerConfig
    from carboy.engine.containers.request import RunRequest
    from carboy.runtime.secrets import Secret
    from carboy.runtime.spec import SandboxSpec

MAX_HOSTNAME = 64  # HOST_NAME_MAX of sethostname(2)
_LETTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.")
_GROUP = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.$")


def settle_request(request: RunRequest, *, tier: str, id_count: int, cwd: str) -> RunRequest:
    """Return the request with what files it names read, or known by whole paths. Raises ``CarboyError`` (125)."""
    if request.hostname is not None:
        check_host_name(request.hostname, option="--hostname")
    check_groups(request.groups, tier=tier, id_count=id_count)
    check_sysctls(request.sysctls, network=request.network or "none")
    parse_hosts(request.add_hosts)
    for address in request.dns:
        check_address(address, option="--dns")
    named = tuple(text for text in request.devices if is_qualified(text))
    if named:
        find_edits(named, read_documents())
    secrets = [parse_secret(text, cwd=cwd) for kind, text in request.mounts if kind == "secret"]
    read_secrets(secrets)
    settled = iter(f"src={secret.source},target={secret.target},mode={secret.mode:04o}" for secret in secrets)
    return request.replace(
        security=read_security(request.security, cwd=cwd),
        mounts=tuple((kind, next(settled) if kind == "secret" else text) for kind, text in request.mounts),
    )


def add_to_spec(spec: SandboxSpec, config: ContainerConfig) -> SandboxSpec:
    """Return the sandbox with what its container asks for beyond the usual. Raises ``CarboyError`` (125)."""
    security = parse_security(config.security)
    check_groups(config.groups, tier=spec.tier, id_count=spec.id_count)
    named = tuple(text for text in config.devices if is_qualified(text))
    edits = find_edits(named, read_documents()) if named else None
    hosts = parse_hosts(config.add_hosts)
    mounts = [_add_hosts(mount, hosts) if isinstance(mount, FileMount) else mount for mount in spec.mounts]
    if config.dns and config.network in {"none", "host", "private"}:
        # A network with names of its own asks these servers in the container's stead.
        content = "".join(f"nameserver {address}\n" for address in config.dns).encode()
        mounts = [mount for mount in mounts if mount.target != "/etc/resolv.conf"]
        mounts.append(FileMount(target="/etc/resolv.conf", content=content, optional=True))
    mounts += read_secrets([parse_secret(text) for kind, text in config.mounts if kind == "secret"])
    groups, env = list(config.groups), spec.env
    if edits is not None:
        mounts += edits.mounts
        groups += () if spec.tier == "single" else edits.groups
        names = {item.partition("=")[0] for item in edits.env}
        env = (*(item for item in env if item.partition("=")[0] not in names), *edits.env)
    return spec.replace(
        mounts=tuple(mounts),
        groups=tuple(groups),
        env=env,
        devices=spec.devices if edits is None else (*spec.devices, *edits.devices),
        sysctls=check_sysctls(config.sysctls, network=config.network),
        seccomp=security.seccomp,
        apparmor=security.apparmor,
    )


def check_host_name(name: str, *, option: str) -> None:
    """Raise ``CarboyError`` (125) unless this can be a host's name: no line break gets into a file of hosts (row 37)."""
    labels = name.split(".")
    if not 0 < len(name) <= MAX_HOSTNAME or not _LETTERS.issuperset(name) or any(
        not label or len(label) > 63 or label[0] == "-" or label[-1] == "-" for label in labels
    ):  # fmt: skip
        raise CarboyError(
            f"{name[:MAX_HOSTNAME]!r} cannot be a host's name ({option})",
            hint="use letters, digits and hyphens, up to 63 between two dots and 64 in all",
            code=125,
        )


def check_address(text: str, *, option: str) -> None:
    """Raise ``CarboyError`` (125) unless this is a numeric address of IPv4 or IPv6."""
    for family in (_socket.AF_INET, _socket.AF_INET6):
        try:
            _socket.inet_pton(family, text)
        except (OSError, ValueError):
            continue
        return
    raise CarboyError(
        f"{text[:100]!r} is no address ({option})", hint="write it in numbers: 192.0.2.1 or 2001:db8::1", code=125
    )


def parse_hosts(texts: Iterable[str]) -> list[tuple[str, str]]:
    """Return the (address, name) of each ``--add-host NAME:ADDRESS`` or ``NAME=ADDRESS``. Raises ``CarboyError`` (125)."""
    found = []
    for text in texts:
        name, separator, address = text.partition("=") if "=" in text else text.partition(":")
        if not separator:
            raise CarboyError(f"{text[:100]!r} is no host", hint="write --add-host NAME:ADDRESS", code=125)
        if address == "host-gateway":
            raise CarboyError(
                "host-gateway is not known here: a container does not reach the services of its host by default",
                hint="name the address that the service listens on: --add-host NAME:ADDRESS",
                code=125,
            )
        address = address.removeprefix("[").removesuffix("]")
        check_host_name(name, option="--add-host")
        check_address(address, option="--add-host")
        found.append((address, name))
    return found


def _add_hosts(mount: FileMount, hosts: list[tuple[str, str]]) -> FileMount:
    if mount.target != "/etc/hosts" or not hosts:
        return mount
    before = mount.content if mount.content.endswith(b"\n") or not mount.content else mount.content + b"\n"
    return mount.replace(content=before + "".join(f"{address}\t{name}\n" for address, name in hosts).encode())


def check_groups(groups: Iterable[str], *, tier: str, id_count: int) -> None:
    """Raise ``CarboyError`` (125) for groups that no container of this tier can have."""
    for group in groups:
        if tier == "single":
            raise CarboyError(
                "--group-add needs more than one id, and this user has no others",
                hint="`carboy doctor` says how to get a range of ids (/etc/subuid)",
                code=125,
            )
        if not group or not _GROUP.issuperset(group) or (group.isdigit() and int(group) >= id_count):
            raise CarboyError(
                f"{group[:100]!r} cannot be a group of the container",
                hint=f"name a group of the image, or a number below {id_count}",
                code=125,
            )


def read_secrets(secrets: list[Secret]) -> list[FileMount]:
    """Return the files of secrets, read now. Raises ``CarboyError`` (125) for one that cannot be read, or is too large."""
    found: list[FileMount] = []
    total = 0
    for secret in secrets:
        if any(mount.target == secret.target for mount in found):
            raise CarboyError(f"two secrets have the name {secret.target}", hint="give one another name", code=125)
        content = _read_secret(secret)
        total += len(content)
        if total > MAX_SECRETS_BYTES:
            raise CarboyError("the secrets are too large together", hint="mount large files by -v", code=125)
        found.append(FileMount(target=secret.target, content=content, mode=secret.mode, private=True))
    return found


def _read_secret(secret: Secret) -> bytes:
    try:
        fd = os.open(secret.source, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise CarboyError(
            f"the secret {secret.source} cannot be read",
            details=error.strerror or "",
            hint="name a file that you may read",
            code=125,
        ) from error
    try:
        if os.fstat(fd).st_mode & 0o170000 != 0o100000:
            raise CarboyError(f"the secret {secret.source} is no file", hint="name a file", code=125)
        content = os.read(fd, MAX_SECRET_BYTES + 1)
    finally:
        os.close(fd)
    if len(content) > MAX_SECRET_BYTES:
        raise CarboyError(
            f"the secret {secret.source} is larger than {MAX_SECRET_BYTES} bytes", hint="use -v", code=125
        )
    return content
