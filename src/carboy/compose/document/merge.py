"""Several files to one tree, by Compose's rules: pure. Source: Compose specification, "Merge and override".

Mappings merge key by key; lists grow; what is written twice stands once, the later in the earlier's place; commands are
replaced. Both trees are in long forms (``canonical``).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.compose.document.nodes import (
    OVERRIDE,
    RESET,
    List,
    Map,
    Node,
    Scalar,
    describe_kind,
    issue_at,
    scalar_text,
)

if TYPE_CHECKING:
    from carboy.compose.errors import Report

# A name without a value has a meaning in these: take it from the environment.
_NULL_MEANS = {"environment", "args"}
_SECRET_FOLDER = "/run/secrets"  # noqa: S105 - a folder


def merge(base: Node, over: Node, report: Report, *, path: tuple[str, ...] = ()) -> Node:
    """Return ``base`` with ``over`` on top; what cannot be merged goes to ``report``, and ``over`` stands."""
    if over.tag in {RESET, OVERRIDE} or base.tag == RESET or (path and path[-1].startswith("x-")):
        return over
    if isinstance(over, Scalar) and over.value is None:
        return over if len(path) > 1 and path[-2] in _NULL_MEANS else base
    if isinstance(base, Map) and isinstance(over, Map):
        return _merge_maps(base, over, report, path)
    if isinstance(base, List) and isinstance(over, List):
        return replace(base, items=tuple(unique((*base.items, *over.items), path)))
    if isinstance(base, Scalar) and (base.value is None or isinstance(over, Scalar)):
        return over
    where = f"{base.at.file}:{base.at.line}"
    report.error(
        issue_at(over, ".".join(path), f"{describe_kind(over)} cannot be merged with {describe_kind(base)} of {where}")
    )
    return over


def _merge_maps(base: Map, over: Map, report: Report, path: tuple[str, ...]) -> Map:
    if len(path) == 3 and path[0] == "services" and path[2] == "logging" and _driver(base) != _driver(over):
        return over
    entries = dict(base.entries)
    for key, value in over.entries.items():
        below = (*path, key)
        entries[key] = merge(entries[key], value, report, path=below) if key in entries else value
    return replace(base, entries=entries, at=over.at if not path else base.at, tag=base.tag)


def _driver(logging: Map) -> str | None:
    """Return the driver of a ``logging``; options of one driver are not those of another."""
    driver = logging.entries.get("driver")
    return scalar_text(driver) if isinstance(driver, Scalar) else None


def unique(items: tuple[Node, ...], path: tuple[str, ...]) -> list[Node]:
    """Return ``items`` without those that a later one stands for, each at the earliest's place."""
    found: list[Node] = []
    places: dict[tuple[str, ...], int] = {}
    for item in items:
        key = _identity(item, path)
        if key in places:
            found[places[key]] = item
            continue
        if key:
            places[key] = len(found)
        found.append(item)
    return found


def _identity(item: Node, path: tuple[str, ...]) -> tuple[str, ...]:
    """Return what two items of a list must share to be the same; empty when nothing makes them so."""
    if isinstance(item, Scalar):
        return ("", scalar_text(item))
    if not isinstance(item, Map) or len(path) != 3 or path[0] != "services":
        return ()
    section = path[2]
    if section in {"secrets", "configs"}:
        folder = _SECRET_FOLDER if section == "secrets" else ""
        target = _entry(item, "target") or _entry(item, "source")
        return (section, target if target.startswith("/") else f"{folder}/{target}")
    if section == "ports":
        return (
            section,
            *(_entry(item, key) for key in ("host_ip", "target", "published")),
            _entry(item, "protocol") or "tcp",
        )
    key = {"volumes": "target", "env_file": "path"}.get(section, "")
    return (section, _entry(item, key)) if _entry(item, key) else ()


def _entry(item: Map, key: str) -> str:
    value = item.entries.get(key)
    return scalar_text(value) if isinstance(value, Scalar) else ""


def enforce_unique(root: Map) -> Map:
    """Return the tree with lists of services made unique: a short form may say a thing twice within one file as well."""
    services = root.entries.get("services")
    if not isinstance(services, Map):
        return root
    made: dict[str, Node] = {}
    for name, service in services.entries.items():
        if not isinstance(service, Map):
            made[name] = service
            continue
        entries = {
            key: replace(value, items=tuple(unique(value.items, ("services", name, key))))
            if isinstance(value, List) and key in _UNIQUE
            else value
            for key, value in service.entries.items()
        }
        made[name] = replace(service, entries=entries)
    return replace(root, entries={**root.entries, "services": replace(services, entries=made)})


_UNIQUE = {"ports", "volumes", "secrets", "configs", "expose", "cap_add", "cap_drop", "profiles", "env_file"}
