"""Two configurations, and two lists of packages, compared for people. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from carboy.attest.packages import Package

# Labels whose values are documents of their own: a difference in one is told where it is.
_NESTED = ("io.carboy.archive",)
_LINES = {"io.carboy.lock": "==", "io.carboy.r": " ", "io.carboy.conda": " "}


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """A value that differs, by its place in the document ("config.Env.PATH"); "" on a side that does not have it."""

    name: str
    left: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageChange:
    """A package that only one side has ("" on the other), or that both have in other versions."""

    kind: str
    name: str
    left: str
    right: str

    @property
    def what(self) -> str:
        """In a word: added, removed, or changed, seen from the left."""
        return "changed" if self.left and self.right else "removed" if self.left else "added"


def compare_configs(left: bytes, right: bytes) -> tuple[Setting, ...]:
    """Return the values in which two image configurations differ, by name. The layers' digests are left out: they are compared
    by themselves.
    """
    one, other = (dict(_flatten("", _prepare(json.loads(data)))) for data in (left, right))
    return tuple(
        Setting(name=name, left=one.get(name, ""), right=other.get(name, ""))
        for name in sorted({*one, *other})
        if one.get(name) != other.get(name)
    )


def _prepare(document: dict[str, Any]) -> dict[str, Any]:
    """Return the document with what is a table in the guise of a text, or of a list, as a table."""
    value = {key: item for key, item in document.items() if key != "rootfs"}
    config = dict(value.get("config") or {})
    if config.get("Env"):
        config["Env"] = dict(str(item).partition("=")[::2] for item in config["Env"])
    labels = dict(config.get("Labels") or {})
    if labels:
        config["Labels"] = {name: _open_label(name, text) for name, text in labels.items()}
    return {**value, "config": config}


def _open_label(name: str, text: Any) -> Any:
    if name in _LINES:
        return {line.partition(_LINES[name])[0]: line for line in str(text).splitlines()}
    if name in _NESTED:
        try:
            return json.loads(text)
        except ValueError:
            pass
    return text


def _flatten(name: str, value: Any) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from _flatten(f"{name}.{key}" if name else str(key), item)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, item in enumerate(value):
            yield from _flatten(f"{name}[{number}]", item)
    elif value not in (None, {}, [], ""):
        yield name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def compare_packages(left: Sequence[Package], right: Sequence[Package]) -> tuple[PackageChange, ...]:
    """Return the packages that differ, sorted by kind and name; several versions of one package stand beside each other."""
    one, other = _by_name(left), _by_name(right)
    return tuple(
        PackageChange(kind=key[0], name=key[1], left=one.get(key, ""), right=other.get(key, ""))
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    )


def _by_name(packages: Sequence[Package]) -> dict[tuple[str, str], str]:
    found: dict[tuple[str, str], list[str]] = {}
    for package in packages:
        found.setdefault((package.kind, package.name), []).append(package.version)
    return {key: ", ".join(sorted(versions)) for key, versions in found.items()}
