"""Devices by name: the Container Device Interface, for ``--gpus`` and ``--device VENDOR/CLASS=NAME``.

A vendor's tool writes specifications into /etc/cdi or /var/run/cdi. What they ask for is done by carboy's own means: devices,
files of the host for reading, variables. Programs that they want to be run on the host (hooks) are not: they would
read what an image brings (hardening rows 32 to 34), so that a specification with hooks is refused, by name.
Source: CNCF CDI specification 1.0.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

from carboy.errors import CarboyError
from carboy.runtime.spec import BindMount, Device, Value

FOLDERS = ("/etc/cdi", "/var/run/cdi")
MAX_FILE_BYTES = 4 * 2**20
MAX_FILES = 100
_QUALIFIED = re.compile(r"[A-Za-z0-9][A-Za-z0-9.-]*/[A-Za-z0-9][A-Za-z0-9_-]*=[A-Za-z0-9][A-Za-z0-9_.:-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=[^\0\n]*")
_KNOWN = {"env", "deviceNodes", "mounts", "hooks", "additionalGids", "intelRdt", "netDevices"}
GPU = "nvidia.com/gpu"


class Edits(Value):
    """What is added to a container: devices, files of the host, variables ("NAME=VALUE"), groups (numbers)."""

    __slots__ = ("devices", "env", "groups", "mounts")
    devices: tuple[Device, ...]
    env: tuple[str, ...]
    groups: tuple[str, ...]
    mounts: tuple[BindMount, ...]

    def __init__(
        self,
        *,
        devices: tuple[Device, ...] = (),
        env: tuple[str, ...] = (),
        groups: tuple[str, ...] = (),
        mounts: tuple[BindMount, ...] = (),
    ) -> None:
        self._set(devices=devices, env=env, groups=groups, mounts=mounts)

    def join(self, other: Edits) -> Edits:
        """Return both, each thing once."""
        return Edits(
            **{name: tuple(dict.fromkeys((*getattr(self, name), *getattr(other, name)))) for name in self.__slots__}
        )


def is_qualified(text: str) -> bool:
    """Return whether a ``--device`` names a device of a specification: vendor.com/class=name."""
    return _QUALIFIED.fullmatch(text) is not None


def parse_gpus(text: str) -> tuple[str, ...]:
    """Return the devices that ``--gpus`` names: "all", a number, or "device=0,1" (also with a vendor's own names).

    Raises ``CarboyError`` (125).
    """
    plain = text.strip().strip("\"'")
    if is_qualified(plain):
        return (plain,)
    fields = [item for item in plain.split(",") if not item.startswith(("capabilities=", "driver=nvidia"))]
    first = fields[0] if fields else ""
    count = first.removeprefix("count=")
    if count in {"all", "-1"} and len(fields) == 1:
        return (f"{GPU}=all",)
    if count.isdigit() and len(fields) == 1 and 0 < int(count) <= 64:
        return tuple(f"{GPU}={number}" for number in range(int(count)))
    if first.startswith("device="):
        names = tuple(f"{GPU}={name}" for name in (first.partition("=")[2], *fields[1:]))
        if all(map(is_qualified, names)):
            return names
    raise CarboyError(f"{text!r} names no GPUs", hint='write --gpus all, --gpus 2, or --gpus "device=0,1"', code=125)


def find_edits(names: tuple[str, ...], documents: list[dict[str, Any]]) -> Edits:
    """Return what the named devices add to a container. Pure. Raises ``CarboyError`` (125) for a name that there is not."""
    found = Edits()
    for name in names:
        kind, _, device = name.partition("=")
        matching = [document for document in documents if document.get("kind") == kind]
        entries = [
            (document, entry)
            for document in matching
            for entry in document.get("devices") or ()
            if entry.get("name") == device
        ]
        if not entries:
            raise _missing(name, documents)
        document, entry = entries[-1]  # the folder that is looked into last counts: CDI, "conflicts"
        for edits in (document.get("containerEdits"), entry.get("containerEdits")):
            found = found.join(_read_edits(edits or {}, name))
    return found


def _missing(name: str, documents: list[dict[str, Any]]) -> CarboyError:
    known = sorted(
        f"{document.get('kind')}={entry.get('name')}"
        for document in documents
        for entry in document.get("devices") or ()
    )
    hint = (
        f"there are: {', '.join(known[:20])}"
        if known
        else (
            "no specification of devices was found in /etc/cdi or /var/run/cdi; for NVIDIA's GPUs, as root: "
            "nvidia-ctk cdi generate --output=/etc/cdi/nvidia.json --format=json"
        )
    )
    return CarboyError(f"there is no device {name} on this machine", hint=hint, code=125)


def _read_edits(edits: dict[str, Any], name: str) -> Edits:
    hooks = [hook.get("path", "?") + " " + " ".join(hook.get("args", [])[1:2]) for hook in edits.get("hooks") or ()]
    if hooks:
        raise CarboyError(
            f"the device {name} wants programs to be run on the host, which carboy never does",
            details="\n".join(sorted(set(hooks))),
            hint="write its specification without hooks: nvidia-ctk cdi generate --disable-hook=all ...",
            code=125,
        )
    unknown = sorted(key for key in edits if key not in _KNOWN or (key in {"intelRdt", "netDevices"} and edits[key]))
    if unknown:
        raise _damaged(name, f"it asks for {', '.join(unknown)}, which carboy does not do")
    env = tuple(edits.get("env") or ())
    if not all(isinstance(item, str) and _VARIABLE.fullmatch(item) for item in env):
        raise _damaged(name, "its variables are not NAME=VALUE")
    return Edits(
        env=env,
        groups=tuple(str(int(gid)) for gid in edits.get("additionalGids") or () if int(gid)),
        devices=tuple(_read_device(node, name) for node in edits.get("deviceNodes") or ()),
        mounts=tuple(_read_mount(mount, name) for mount in edits.get("mounts") or ()),
    )


def _read_device(node: dict[str, Any], name: str) -> Device:
    target = _path(node.get("path"), name)
    source = _path(node.get("hostPath") or target, name)
    permissions = node.get("permissions") or "rwm"
    if not isinstance(permissions, str) or not set(permissions) <= set("rwm"):
        raise _damaged(name, f"{permissions!r} are no permissions")
    return Device(source=source, target=target, permissions=permissions)


def _read_mount(mount: dict[str, Any], name: str) -> BindMount:
    options = mount.get("options") or []
    if mount.get("type") not in {None, "", "bind", "none"}:
        raise _damaged(name, f"it mounts a {mount['type']}")
    # Nothing of the host is written through a device's files unless the vendor says so in a word.
    return BindMount(
        source=_path(mount.get("hostPath"), name),
        target=_path(mount.get("containerPath"), name),
        read_only="rw" not in options,
        noexec="noexec" in options,
        recursive="rbind" in options,
    )


def _path(text: Any, name: str) -> str:
    if not isinstance(text, str) or not text.startswith("/") or "\0" in text or ".." in text.split("/"):
        raise _damaged(name, f"{text!r} is no absolute path")
    return text


def _damaged(name: str, reason: str) -> CarboyError:
    return CarboyError(
        f"the specification of {name} cannot be used: {reason}", hint="ask its vendor's tool anew", code=125
    )


def read_documents(folders: tuple[str, ...] = FOLDERS) -> list[dict[str, Any]]:
    """Return the specifications of this machine, those of the last folder last. Raises ``CarboyError`` (125)."""
    found = []
    for folder in folders:
        try:
            names = sorted(name for name in os.listdir(folder) if name.endswith((".json", ".yaml", ".yml")))
        except (FileNotFoundError, NotADirectoryError):
            continue
        found += [_read_document(f"{folder}/{name}") for name in names[:MAX_FILES]]
    return found


def _read_document(path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
        if len(data) > MAX_FILE_BYTES:
            raise ValueError("the file is too large")
        document = json.loads(data) if path.endswith(".json") else _parse_yaml(data)
        kind = document["kind"]
        if not isinstance(kind, str) or not isinstance(document.get("devices") or [], list):
            raise TypeError("it has no kind, or no devices")
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CarboyError(
            f"the specification of devices {path} cannot be read",
            details=str(error),
            hint="mend or remove it",
            code=125,
        ) from error
    found: dict[str, Any] = document
    return found


def _parse_yaml(data: bytes) -> Any:
    import yaml

    if b"&" in data and b"*" in data:  # no vendor's tool writes aliases, and a few lines of them fill any memory
        raise ValueError("it holds aliases")
    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error
