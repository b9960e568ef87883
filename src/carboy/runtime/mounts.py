"""``-v``, ``--mount`` and ``--tmpfs`` as Docker's users write them, to values. Pure: nothing is looked for on the disk.

A notation that says nothing wrong but asks for what carboy does not do (shared propagation, drivers) is refused, never
ignored; what has no effect anywhere here (SELinux labels, caching hints of Docker Desktop) is accepted. Sources:
docker-run(1); docker/cli opts/mount.go; moby volume/mounts/linux_parser.go.
"""

from __future__ import annotations

import csv
import posixpath

from carboy.errors import CarboyError
from carboy.runtime.limits import parse_bytes
from carboy.runtime.spec import Value
from carboy.volumes.name import find_issue

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

KINDS = ("bind", "volume", "tmpfs")
MAX_TARGET_BYTES = 4095
DEFAULT_TMPFS_MODE = 0o1777
_NO_EFFECT = frozenset(
    {
        "rw", "z", "Z", "private", "rprivate", "rbind", "nosuid", "nodev", "exec", "copy", "cached", "delegated",
        "consistent", "default",
    }
)  # fmt: skip
_PROPAGATION = frozenset({"shared", "rshared", "slave", "rslave", "unbindable", "runbindable"})
_IDMAPS = ("owner", "ids", "none")
_TRUE, _FALSE = ("1", "t", "true"), ("0", "f", "false")
# What the sandbox fills itself. A mount over it would take off what hides the host's details.
_TAKEN_WITH_ALL_BELOW = ("/proc", "/sys", "/dev/pts")
_TAKEN = ("/", "/dev", "/dev/mqueue")


class MountRequest(Value):
    """What one option asks for; every mount is nosuid, nodev and private besides.

    ``kind`` is "bind" (``source`` is an absolute path of the host), "volume" (its name; empty for an anonymous one) or
    "tmpfs". ``target`` is absolute and normal. ``recursive`` and ``idmap`` are as ``BindMount`` has them ("": by default);
    ``copy_up`` fills an empty volume with what the image has at the target; ``size_bytes`` 0 is the default size.
    """

    __slots__ = (
        "copy_up", "idmap", "kind", "mode", "noexec", "read_only", "recursive", "size_bytes", "source", "target",
    )  # fmt: skip
    kind: str
    source: str
    target: str
    read_only: bool
    noexec: bool
    recursive: bool
    copy_up: bool
    idmap: str
    size_bytes: int
    mode: int

    def __init__(
        self,
        *,
        kind: str,
        target: str,
        source: str = "",
        read_only: bool = False,
        noexec: bool = False,
        recursive: bool = True,
        copy_up: bool = True,
        idmap: str = "",
        size_bytes: int = 0,
        mode: int = DEFAULT_TMPFS_MODE,
    ) -> None:
        self._set(
            kind=kind, source=source, target=target, read_only=read_only, noexec=noexec, recursive=recursive,
            copy_up=copy_up, idmap=idmap, size_bytes=size_bytes, mode=mode,
        )  # fmt: skip


class _Issue(Exception):
    """What is wrong with one option, and what to write instead."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.hint = hint


def parse_volume(text: str, *, cwd: str = "/") -> MountRequest:
    """Return what ``-v`` asks for: "SOURCE:TARGET[:OPTIONS]", or "TARGET" for an anonymous volume.

    A source is a host's path when it begins with "/", or with "./" or "../" (from ``cwd``), else a volume's name.
    Raises ``CarboyError`` (125).
    """
    return _raise_issue("-v", text, lambda: _parse_volume(text, cwd))


def parse_mount(text: str, *, cwd: str = "/") -> MountRequest:
    """Return what ``--mount`` asks for: "type=bind,src=...,dst=...[,ro]", a record of CSV. Raises ``CarboyError`` (125)."""
    return _raise_issue("--mount", text, lambda: _parse_mount(text, cwd))


def parse_tmpfs(text: str) -> MountRequest:
    """Return what ``--tmpfs`` asks for: "TARGET[:OPTIONS]", noexec unless told "exec". Raises ``CarboyError`` (125)."""
    return _raise_issue("--tmpfs", text, lambda: _parse_tmpfs(text))


def plan_requests(
    *,
    volumes: Iterable[str] = (),
    mounts: Iterable[str] = (),
    tmpfs: Iterable[str] = (),
    image_volumes: Iterable[str] = (),
    cwd: str = "/",
) -> tuple[MountRequest, ...]:
    """Return the mounts of one container, in the order of the options; the image's own volumes last, unless replaced.

    Raises ``CarboyError`` (125) that lists all that is wrong, duplicate targets included.
    """
    issues: list[str] = []
    hints: list[str] = []
    found: dict[str, MountRequest] = {}
    options: list[tuple[str, str, Callable[[], MountRequest]]] = [
        *(("-v", text, lambda text=text: _parse_volume(text, cwd)) for text in volumes),
        *(("--mount", text, lambda text=text: _parse_mount(text, cwd)) for text in mounts),
        *(("--tmpfs", text, lambda text=text: _parse_tmpfs(text)) for text in tmpfs),
    ]
    for option, text, parse in options:
        try:
            request = parse()
            if request.target in found:
                raise _Issue(f"Duplicate mount point: {request.target}", "mount one thing at each path")
            found[request.target] = request
        except _Issue as issue:
            issues.append(f"{option} {text}: {issue.text}")
            if issue.hint and issue.hint not in hints:
                hints.append(issue.hint)
    if issues:
        brief = (
            "a mount cannot be made as asked" if len(issues) == 1 else f"{len(issues)} mounts cannot be made as asked"
        )
        raise CarboyError(brief, details="\n".join(issues), hint="; ".join(hints), code=125)
    for text in image_volumes:
        try:
            target = _normal_target(text)
        except _Issue:
            continue  # what an image asks for is the image's business; its program sees a plain folder there
        found.setdefault(target, MountRequest(kind="volume", target=target))
    return tuple(found.values())


def _raise_issue(option: str, text: str, parse: Callable[[], MountRequest]) -> MountRequest:
    try:
        return parse()
    except _Issue as issue:
        raise CarboyError(issue.text, details=f"{option} {text}", hint=issue.hint, code=125) from None


# --- the notations ------------------------------------------------------------------------------------------------


def _parse_volume(text: str, cwd: str) -> MountRequest:
    parts = text.split(":")
    if len(parts) == 1:
        return MountRequest(kind="volume", target=_normal_target(text))
    if len(parts) > 3 or not all(parts):
        raise _Issue(f"invalid volume specification: '{text}'", "write -v SOURCE:TARGET or -v SOURCE:TARGET:OPTIONS")
    source, target = parts[0], parts[1]
    words = parts[2].split(",") if len(parts) == 3 else []
    if len(parts) == 2 and not target.startswith("/") and all(_is_option(word) for word in target.split(",")):
        hint = f"options need a source; for an anonymous volume write --mount type=volume,dst={source},{target}"
        raise _Issue(f"invalid volume specification: '{text}'", hint)
    kind, source = _parse_source(source, cwd)
    return _apply_words(MountRequest(kind=kind, source=source, target=_normal_target(target)), words)


def _is_option(word: str) -> bool:
    return word in _NO_EFFECT or word in _PROPAGATION or word in {"ro", "noexec", "nocopy", "bind", "idmap", "U"}


def _parse_source(source: str, cwd: str) -> tuple[str, str]:
    """Return (kind, source)."""
    if "\0" in source:
        raise _Issue("a path holds no zero byte")
    if source.startswith("/"):
        return "bind", _clean(source)
    if source in {".", ".."} or source.startswith(("./", "../")):
        return "bind", _clean(f"{cwd}/{source}")
    if source.startswith("~"):
        raise _Issue(
            f"{source!r} is not a path: the shell left the ~ as it is",
            f"write $HOME{source[1:]}" if source[1:2] in {"", "/"} else "write the path out",
        )
    issue = find_issue(source)
    if issue:
        raise _Issue(f"{issue}. If you intended to pass a host directory, use absolute path", f"write $PWD/{source}")
    return "volume", source


def _apply_words(request: MountRequest, words: list[str]) -> MountRequest:
    """Return the request with the options of ``-v`` applied."""
    seen: set[str] = set()
    for word in words:
        if word in seen or (word in {"ro", "rw"} and seen & {"ro", "rw"}):
            raise _Issue(f"invalid mode: {','.join(words)}", f"give {word} once")
        seen.add(word)
        name, _, value = word.partition("=")
        if word in _NO_EFFECT:
            continue
        if word == "ro":
            request = request.replace(read_only=True)
        elif word == "noexec":
            request = request.replace(noexec=True)
        elif word == "nocopy" and request.kind == "volume":
            request = request.replace(copy_up=False)
        elif word == "bind" and request.kind == "bind":
            request = request.replace(recursive=False)
        elif name == "idmap" and request.kind == "bind":
            request = request.replace(idmap=_parse_idmap(value or "owner"))
        else:
            raise _explain_word(word, request, words)
    return request


def _explain_word(word: str, request: MountRequest, words: list[str]) -> _Issue:
    if word in _PROPAGATION:
        return _Issue(
            f"the propagation {word} would let mounts out of the container", "leave it out: mounts are private"
        )
    if word in {"suid", "dev"}:
        return _Issue(f"the option {word} is not offered: mounts are nosuid and nodev", "a device is given by --device")
    if word == "U":
        return _Issue(
            "the option U would change the owners of the host's files", "idmap=owner shows them as the container's"
        )
    if word in {"nocopy", "bind"} or word.startswith("idmap"):
        return _Issue(f"the option {word} does not go with a {request.kind} mount")
    return _Issue(f"invalid mode: {','.join(words)}", "the options are ro, rw, noexec, nocopy, idmap, bind")


def _parse_idmap(value: str) -> str:
    if value not in _IDMAPS:
        raise _Issue(f"idmap={value} is unknown", f"one of {', '.join(_IDMAPS)}")
    return value


def _parse_tmpfs(text: str) -> MountRequest:
    target, _, options = text.partition(":")
    request = MountRequest(kind="tmpfs", target=_normal_target(target), noexec=True)
    for word in options.split(",") if options else []:
        name, equals, value = word.partition("=")
        if word == "exec":
            request = request.replace(noexec=False)
        elif word == "noexec":
            request = request.replace(noexec=True)
        elif word == "ro":
            request = request.replace(read_only=True)
        elif word == "rw":
            request = request.replace(read_only=False)
        elif name == "size" and equals:
            request = request.replace(size_bytes=_parse_size(value))
        elif name == "mode" and equals:
            request = request.replace(mode=_parse_mode(value))
        elif word in {"suid", "dev"} or word in _PROPAGATION:
            raise _explain_word(word, request, [word])
        elif word not in _NO_EFFECT:
            raise _Issue(f"invalid tmpfs option {word!r}", "the options are ro, rw, exec, noexec, size=, mode=")
    return request


def _parse_size(text: str) -> int:
    try:
        size = parse_bytes(text)
    except ValueError as error:
        raise _Issue(f"invalid value for size: {error}") from None
    if not size:
        raise _Issue("a size of 0 is none", "leave it out for the default")
    return size


def _parse_mode(text: str) -> int:
    if not text or len(text) > 5 or not set(text) <= set("01234567") or int(text, 8) > 0o1777:
        raise _Issue(f"invalid value for mode: {text}", "write octal digits up to 1777, as 0700")
    return int(text, 8)


# --- one notation for all ------------------------------------------------------------------------------------------


def format_mount(request: MountRequest) -> str:
    """Return the request as ``--mount`` takes it: what :func:`parse_mount` makes of it is the same request."""
    fields = [
        f"type={request.kind}",
        *([f"source={request.source}"] if request.source else ()),
        f"target={request.target}",
    ]
    if request.read_only:
        fields.append("readonly")
    if request.noexec != (request.kind == "tmpfs"):
        fields.append(f"noexec={str(request.noexec).lower()}")
    if not request.recursive:
        fields.append("bind-recursive=disabled")
    if not request.copy_up:
        fields.append("volume-nocopy")
    if request.idmap:
        fields.append(f"idmap={request.idmap}")
    if request.kind == "tmpfs":
        fields += [f"tmpfs-size={request.size_bytes}"] if request.size_bytes else []
        fields += [f"tmpfs-mode={request.mode:04o}"] if request.mode != DEFAULT_TMPFS_MODE else []
    return ",".join(_quote(field) for field in fields)


def _quote(field: str) -> str:
    if any(character in field for character in ',"\r\n'):
        return '"' + field.replace('"', '""') + '"'
    return field


# --- --mount ------------------------------------------------------------------------------------------------------

_ALIASES = {"src": "source", "dst": "target", "destination": "target", "ro": "readonly"}
_UNSUPPORTED = {
    "volume-driver": "the driver is always local",
    "volume-opt": "volumes are plain folders, without options of a driver",
    "volume-subpath": "mount a whole volume",
    "volume-label": "`carboy volume create --label` makes a volume with labels",
}


def _parse_mount(text: str, cwd: str) -> MountRequest:
    fields = _parse_fields(text)
    kind = fields.get("type", "volume").lower()
    if kind not in KINDS:
        raise _Issue(f"invalid mount type: {kind}", f"the types are {', '.join(KINDS)}")
    target = fields.get("target")
    if not target:
        raise _Issue("target is required", "add dst=PATH")
    for key in fields:
        owner = key.partition("-")[0]
        if owner in KINDS and "-" in key and owner != kind:
            raise _Issue(f"cannot mix '{owner}-*' options with mount type '{kind}'")
    request = MountRequest(kind=kind, target=_normal_target(target), noexec=kind == "tmpfs")
    request = request.replace(source=_find_mount_source(kind, fields.get("source", ""), cwd))
    for key, value in fields.items():
        request = _apply_field(request, key, value)
    return request


def _parse_fields(text: str) -> dict[str, str]:
    """Return the fields of one CSV record by their full names; a field without "=" has the value ""."""
    try:
        rows = list(csv.reader([text], strict=True))
    except csv.Error as error:
        raise _Issue(f"it is no record of CSV: {error}") from None
    fields: dict[str, str] = {}
    for item in rows[0] if rows else []:
        key, equals, value = item.partition("=")
        key = key.strip().lower()
        key = _ALIASES.get(key, key)
        if not equals and key not in {
            "readonly",
            "volume-nocopy",
            "bind-nonrecursive",
            "noexec",
            "idmap",
            "nosuid",
            "nodev",
        }:
            raise _Issue(f"invalid field '{item}' must be a key=value pair")
        if key in fields:
            raise _Issue(f"the field {key} is given twice")
        fields[key] = value
    if not fields:
        raise _Issue("value is empty", "write type=bind,src=PATH,dst=PATH")
    return fields


def _find_mount_source(kind: str, source: str, cwd: str) -> str:
    if kind == "tmpfs":
        if source:
            raise _Issue("a tmpfs has no source", "leave src out")
        return ""
    if not source:
        if kind == "bind":
            raise _Issue("field Source must not be empty", "add src=PATH")
        return ""
    found, source = _parse_source(source, cwd)
    if found != kind:
        if kind == "bind":
            raise _Issue(f"invalid mount path: '{source}' mount path must be absolute", f"write src=./{source}")
        raise _Issue(f"a volume has a name, and {source!r} is a path", "write type=bind")
    return source


def _apply_field(request: MountRequest, key: str, value: str) -> MountRequest:
    if key in _CHANGES:
        name, parse = _CHANGES[key]
        return request.replace(**{name: parse(key, value)})
    if key == "idmap" and request.kind == "bind":
        return request.replace(idmap=_parse_idmap(value or "owner"))
    if not _is_idle(key, value):
        raise _explain_field(request, key, value)
    return request


def _parse_bool(key: str, value: str) -> bool:
    if value == "" or value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise _Issue(f"invalid value for {key}: {value}")


def _parse_recursive(key: str, value: str) -> bool:
    # "readonly" asks that all below be read-only as well, which is so here whenever the mount is.
    if value not in {"enabled", "disabled", "readonly"}:
        raise _Issue(f"invalid value for {key}: {value}", "one of enabled, disabled, readonly")
    return value != "disabled"


_CHANGES: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "readonly": ("read_only", _parse_bool),
    "noexec": ("noexec", _parse_bool),
    "tmpfs-size": ("size_bytes", lambda _, value: _parse_size(value)),
    "tmpfs-mode": ("mode", lambda _, value: _parse_mode(value)),
    "volume-nocopy": ("copy_up", lambda key, value: not _parse_bool(key, value)),
    "bind-nonrecursive": ("recursive", lambda key, value: not _parse_bool(key, value)),
    "bind-recursive": ("recursive", _parse_recursive),
}


def _is_idle(key: str, value: str) -> bool:
    """Return whether a field asks for what is so anyway, or has been read already."""
    return (
        key in {"type", "source", "target", "consistency"}
        or (key == "bind-propagation" and value in {"private", "rprivate"})
        or (key in {"nosuid", "nodev"} and _parse_bool(key, value))
        or (key == "volume-driver" and value in {"", "local"})
    )


def _explain_field(request: MountRequest, key: str, value: str) -> _Issue:
    if key == "bind-propagation" and value in _PROPAGATION:
        return _explain_word(value, request, [value])
    if key in _UNSUPPORTED:
        return _Issue(f"{key} is not supported", _UNSUPPORTED[key])
    if key in {"bind-propagation", "nosuid", "nodev"}:
        return _Issue(f"invalid value for {key}: {value}")
    if key == "idmap":
        return _Issue(f"idmap does not go with a {request.kind} mount")
    return _Issue(f"unexpected key '{key}' in '{key}={value}'")


# --- paths --------------------------------------------------------------------------------------------------------


def _clean(path: str) -> str:
    """Return the path without "//", "." and "..", as Go's path.Clean; posixpath keeps two leading slashes."""
    return "/" + posixpath.normpath(path).lstrip("/")


def _normal_target(text: str) -> str:
    """Return the normal form of a target. Raises ``_Issue`` for one that is relative, or taken by the sandbox itself."""
    if not text.startswith("/"):
        hint = f"write /{text}" if text and not text.startswith((".", "~")) else "write a path that begins with /"
        raise _Issue(f"invalid mount path: '{text}' mount path must be absolute", hint)
    if "\0" in text or len(text.encode("utf-8", "surrogateescape")) > MAX_TARGET_BYTES:
        raise _Issue("invalid mount path: it is too long, or holds a zero byte")
    target = _clean(text)
    if target == "/":
        raise _Issue("invalid specification: destination can't be '/'", "mount something below it")
    taken = target in _TAKEN or any(target == path or target.startswith(f"{path}/") for path in _TAKEN_WITH_ALL_BELOW)
    if taken:
        raise _Issue(f'"{target}" cannot be mounted over: the container has its own', "a device is given by --device")
    return target
