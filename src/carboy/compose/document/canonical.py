"""Every short form made long, and every path absolute, so that files can be merged key by key: pure.

Nodes of a kind that a key cannot have are left alone: whoever reads the key reports them with all the rest.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.compose.document.nodes import OVERRIDE, RESET, List, Map, Node, Position, Scalar, issue_at, scalar_text
from carboy.compose.document.paths import SERVICE, is_path, is_remote, resolve_path
from carboy.compose.document.short import ShortFormError, parse_port, parse_volume

if TYPE_CHECKING:
    from collections.abc import Callable

    from carboy.compose.errors import Report


@dataclass(frozen=True, slots=True, kw_only=True)
class Canon:
    """What the long forms need to know: the folder that relative paths stand on, the home folder, where errors go."""

    base: str
    home: str
    report: Report

    def resolve(self, node: Node) -> Node:
        """Return a scalar path made absolute."""
        if not isinstance(node, Scalar) or not isinstance(node.value, str) or is_remote(node.value) or not node.value:
            return node
        return replace(node, value=resolve_path(self.base, node.value, home=self.home))


def canonicalize(root: Map, canon: Canon) -> Map:
    """Return a file's tree in long forms; ``include`` entries too."""
    entries = dict(root.entries)
    services = entries.get("services")
    if isinstance(services, Map):
        made = {
            name: canonicalize_service(node, canon, path=f"services.{name}") if isinstance(node, Map) else node
            for name, node in services.entries.items()
        }
        entries["services"] = replace(services, entries=made)
    for section, keys in _SECTIONS.items():
        table = entries.get(section)
        if isinstance(table, Map):
            made = {name: _apply(node, keys, canon, f"{section}.{name}") for name, node in table.entries.items()}
            entries[section] = replace(table, entries=made)
    if "include" in entries:
        entries["include"] = _include(entries["include"], canon, "include")
    return replace(root, entries=entries)


def canonicalize_service(service: Map, canon: Canon, *, path: str) -> Map:
    """Return one service in long forms."""
    made = _apply(service, _SERVICE, canon, path)
    if not isinstance(made, Map):
        raise TypeError(path)
    return made


def _apply(node: Node, keys: dict[str, Callable[[Node, Canon, str], Node]], canon: Canon, path: str) -> Node:
    """Return a mapping whose values under ``keys`` were made long."""
    if not isinstance(node, Map):
        return node
    entries = {
        key: keys[key](value, canon, f"{path}.{key}") if key in keys and value.tag != RESET else value
        for key, value in node.entries.items()
    }
    return replace(node, entries=entries)


def _text(value: str, at: Position) -> Scalar:
    return Scalar(value=value, text=value, at=at)


def _pairs(node: Node, canon: Canon, path: str) -> Node:
    """Return ``NAME=value`` lists as mappings; a name alone has no value."""
    if not isinstance(node, List):
        return node
    entries: dict[str, Node] = {}
    for index, item in enumerate(node.items):
        if not isinstance(item, Scalar) or item.value is None:
            canon.report.error(issue_at(item, f"{path}[{index}]", "this is not NAME=value"))
            continue
        name, sign, value = scalar_text(item).partition("=")
        entries[name] = replace(item, value=value if sign else None, text=value)
    return Map(entries=entries, at=node.at, tag=node.tag)


def _strings(node: Node, _canon: Canon, _where: str) -> Node:
    """Return one text as a list of it."""
    if isinstance(node, Scalar) and node.value is not None:
        return List(items=(replace(node, tag=""),), at=node.at, tag=node.tag)
    return node


def _path(node: Node, canon: Canon, _where: str) -> Node:
    return canon.resolve(node)


def _named_paths(node: Node, canon: Canon, path: str) -> Node:
    """Return names with what they stand for: a path, where it is not the name of a service or an address."""
    named = _pairs(node, canon, path)
    if not isinstance(named, Map):
        return named
    entries = {
        name: value if isinstance(value, Scalar) and str(value.value).startswith(SERVICE) else canon.resolve(value)
        for name, value in named.entries.items()
    }
    return replace(named, entries=entries)


def _caches(node: Node, canon: Canon, path: str) -> Node:
    """Return places of caches as a list, the folders among them absolute ("type=local,src=../cache")."""
    listed = _strings(node, canon, path)
    if not isinstance(listed, List):
        return listed
    items: list[Node] = []
    for item in listed.items:
        words = scalar_text(item).split(",") if isinstance(item, Scalar) and item.value is not None else []
        made = []
        for word in words:
            name, sign, value = word.partition("=")
            is_folder = sign and name.strip().lower() in {"src", "dest"} and "type=local" in words
            made.append(f"{name}={resolve_path(canon.base, value, home=canon.home)}" if is_folder else word)
        text = ",".join(made)
        items.append(replace(item, value=text, text=text) if isinstance(item, Scalar) and words else item)
    return replace(listed, items=tuple(items))


def _hosts(node: Node, canon: Canon, path: str) -> Node:
    """Return ``extra_hosts`` as a list of ``name=address``."""
    if isinstance(node, Map):
        found: list[Node] = []
        for host, value in node.entries.items():
            for entry in value.items if isinstance(value, List) else (value,):
                if not isinstance(entry, Scalar) or not scalar_text(entry):
                    canon.report.error(issue_at(entry, f"{path}.{host}", "this is no address"))
                    continue
                pair = f"{host}={scalar_text(entry).strip('[]')}"
                found.append(replace(entry, value=pair, text=pair, tag=""))
        return List(items=tuple(found), at=node.at, tag=node.tag)
    if not isinstance(node, List):
        return node
    items: list[Node] = []
    for index, item in enumerate(node.items):
        text = scalar_text(item) if isinstance(item, Scalar) else ""
        sign = "=" if "=" in text else ":"
        name, found_sign, address = text.partition(sign)
        if not isinstance(item, Scalar) or not (name and found_sign and address):
            canon.report.error(issue_at(item, f"{path}[{index}]", "this is not HOST=ADDRESS"))
            continue
        items.append(replace(item, value=f"{name}={address.strip('[]')}", text=text))
    return List(items=tuple(items), at=node.at, tag=node.tag)


def _names(node: Node, default: dict[str, str | bool] | None) -> Node:
    """Return a list of names as a mapping from each to ``default``."""
    if not isinstance(node, List):
        return node
    entries: dict[str, Node] = {}
    for item in node.items:
        if not isinstance(item, Scalar):
            return node
        value: Node = Scalar(value=None, at=item.at)
        if default is not None:
            made: dict[str, Node] = {
                key: Scalar(value=what, text=str(what), at=item.at) for key, what in default.items()
            }
            value = Map(entries=made, at=item.at)
        entries[scalar_text(item)] = value
    return Map(entries=entries, at=node.at, tag=node.tag)


def _depends_on(node: Node, _canon: Canon, _where: str) -> Node:
    return _names(node, {"condition": "service_started", "required": True})


def _networks(node: Node, canon: Canon, path: str) -> Node:
    named = _names(node, None)
    if not isinstance(named, Map):
        return named
    entries = {name: _apply(value, {"aliases": _strings}, canon, path) for name, value in named.entries.items()}
    return replace(named, entries=entries)


def _build(node: Node, canon: Canon, path: str) -> Node:
    if isinstance(node, Scalar) and node.value is not None:
        node = Map(entries={"context": replace(node, tag="")}, at=node.at, tag=node.tag)
    if isinstance(node, Map) and "context" not in node.entries:
        node = replace(node, entries={"context": _text(".", node.at), **node.entries})
    return _apply(node, _BUILD, canon, path)


def _env_file(node: Node, canon: Canon, path: str) -> Node:
    listed = _strings(node, canon, path)
    if isinstance(listed, Map):
        listed = List(items=(replace(listed, tag=""),), at=listed.at, tag=listed.tag)
    if not isinstance(listed, List):
        return listed
    items: list[Node] = []
    for item in listed.items:
        made: Node = Map(entries={"path": item}, at=item.at) if isinstance(item, Scalar) else item
        items.append(_apply(made, {"path": _path}, canon, path))
    return replace(listed, items=tuple(items))


def _grants(node: Node, _canon: Canon, _where: str) -> Node:
    """Return the secrets or configs of a service as mappings with a ``source``."""
    if not isinstance(node, List):
        return node
    items = tuple(
        Map(entries={"source": item}, at=item.at) if isinstance(item, Scalar) else item for item in node.items
    )
    return replace(node, items=items)


def _ports(node: Node, canon: Canon, path: str) -> Node:
    if not isinstance(node, List):
        return node
    items: list[Node] = []
    for index, item in enumerate(node.items):
        if not isinstance(item, Scalar) or item.value is None:
            items.append(item)
            continue
        try:
            found = parse_port(scalar_text(item))
        except ShortFormError as error:
            canon.report.error(issue_at(item, f"{path}[{index}]", str(error)))
            continue
        for port in found:
            entries: dict[str, Node] = {"target": Scalar(value=port.target, text=str(port.target), at=item.at)}
            texts = {"published": port.published, "host_ip": port.host_ip, "protocol": port.protocol}
            entries |= {key: _text(text, item.at) for key, text in texts.items() if text}
            items.append(Map(entries=entries, at=item.at))
    return replace(node, items=tuple(items))


def _volumes(node: Node, canon: Canon, path: str) -> Node:
    if not isinstance(node, List):
        return node
    items: list[Node] = []
    for index, item in enumerate(node.items):
        if isinstance(item, Map):
            items.append(_long_volume(item, canon))
            continue
        try:
            items.append(_short_volume(item, canon))
        except ShortFormError as error:
            canon.report.error(issue_at(item, f"{path}[{index}]", str(error)))
    return replace(node, items=tuple(items))


def _short_volume(item: Node, canon: Canon) -> Node:
    if not isinstance(item, Scalar):
        raise ShortFormError("this is neither a text nor a mapping")
    volume = parse_volume(scalar_text(item))
    entries: dict[str, Node] = {"type": _text(volume.kind, item.at), "target": _text(volume.target, item.at)}
    if volume.source:
        source = _text(volume.source, item.at)
        entries["source"] = canon.resolve(source) if volume.kind == "bind" else source
    if volume.read_only:
        entries["read_only"] = Scalar(value=True, text="true", at=item.at)
    inner: dict[str, Node] = {}
    if volume.kind == "bind":
        if volume.propagation:
            inner["propagation"] = _text(volume.propagation, item.at)
    elif volume.nocopy:
        inner["nocopy"] = Scalar(value=True, text="true", at=item.at)
    if inner:
        entries[volume.kind] = Map(entries=inner, at=item.at)
    return Map(entries=entries, at=item.at)


def _long_volume(item: Map, canon: Canon) -> Node:
    kind, source = item.entries.get("type"), item.entries.get("source")
    if not isinstance(kind, Scalar) or not isinstance(source, Scalar) or kind.value != "bind":
        return item
    text = scalar_text(source)
    # A bind's source without a dot in front is a path as well: the long form has a type of its own.
    resolved = canon.resolve(source if is_path(text) else replace(source, value=f"./{text}"))
    return replace(item, entries={**item.entries, "source": resolved})


def _extends(node: Node, canon: Canon, path: str) -> Node:
    if isinstance(node, Scalar) and node.value is not None:
        return Map(entries={"service": node}, at=node.at)
    return _apply(node, {"file": _path}, canon, path)


def _include(node: Node, canon: Canon, path: str) -> Node:
    if not isinstance(node, List):
        return node
    items: list[Node] = []
    for item in node.items:
        made: Node = Map(entries={"path": item}, at=item.at) if isinstance(item, Scalar) else item
        items.append(_apply(made, {"path": _paths, "env_file": _paths, "project_directory": _path}, canon, path))
    return replace(node, items=tuple(items))


def _paths(node: Node, canon: Canon, path: str) -> Node:
    listed = _strings(node, canon, path)
    if not isinstance(listed, List):
        return listed
    return replace(listed, items=tuple(canon.resolve(item) for item in listed.items))


def _healthcheck(node: Node, _canon: Canon, _where: str) -> Node:
    """Let ``test`` be replaced as a whole when files are merged."""
    test = node.entries.get("test") if isinstance(node, Map) else None
    if not isinstance(node, Map) or test is None or test.tag:
        return node
    return replace(node, entries={**node.entries, "test": replace(test, tag=OVERRIDE)})


def _whole(node: Node, _canon: Canon, _where: str) -> Node:
    """Let this key be replaced as a whole when files are merged (specification, "Shell commands")."""
    return node if node.tag else replace(node, tag=OVERRIDE)


def _each_whole(node: Node, canon: Canon, path: str) -> Node:
    if not isinstance(node, Map):
        return node
    return replace(node, entries={name: _whole(value, canon, path) for name, value in node.entries.items()})


_BUILD: dict[str, Callable[[Node, Canon, str], Node]] = {
    "context": _path,
    "args": _pairs,
    "labels": _pairs,
    "additional_contexts": _named_paths,
    "cache_from": _caches,
    "cache_to": _caches,
    "entitlements": _strings,
    "extra_hosts": _hosts,
    "no_cache_filter": _strings,
    "secrets": _grants,
    "ssh": _named_paths,
    "tags": _strings,
    "ulimits": _each_whole,
}
_SERVICE: dict[str, Callable[[Node, Canon, str], Node]] = {
    "annotations": _pairs,
    "build": _build,
    "command": _whole,
    "configs": _grants,
    "depends_on": _depends_on,
    "deploy": lambda node, canon, path: _apply(node, {"labels": _pairs}, canon, path),
    "dns": _strings,
    "dns_opt": _strings,
    "dns_search": _strings,
    "entrypoint": _whole,
    "env_file": _env_file,
    "environment": _pairs,
    "extends": _extends,
    "extra_hosts": _hosts,
    "healthcheck": _healthcheck,
    "label_file": _paths,
    "labels": _pairs,
    "networks": _networks,
    "ports": _ports,
    "profiles": _strings,
    "secrets": _grants,
    "sysctls": _pairs,
    "tmpfs": _strings,
    "ulimits": _each_whole,
    "volumes": _volumes,
}
_SECTIONS: dict[str, dict[str, Callable[[Node, Canon, str], Node]]] = {
    "networks": {"labels": _pairs},
    "volumes": {"labels": _pairs},
    "secrets": {"file": _path, "labels": _pairs},
    "configs": {"file": _path, "labels": _pairs},
}
