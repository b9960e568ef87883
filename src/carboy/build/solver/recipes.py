"""Which bases can be made here, by the names that Dockerfiles use: a table of data, and its reading.

The table is ``bases.toml`` beside this module; ``[bases]`` and ``[archives]`` in config.toml of the home are read before it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carboy.base.config import FILE, read_table
from carboy.bootstrap.distributions import DISTRIBUTIONS
from carboy.bootstrap.recipe import ArchiveSettings, parse_recipe
from carboy.build.solver.names import check_pattern, expand_pattern, fits
from carboy.errors import CarboyError
from carboy.oci.reference import DEFAULT_REGISTRY, OFFICIAL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.oci.reference import Reference

_TABLE = os.path.join(os.path.dirname(__file__), "bases.toml")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_ARCHIVE_KEYS = {"mirror", "security_mirror", "components", "keyring", "security"}
_BASE_KEYS = {"from", "what", "packages", "env", "command", "entrypoint", "workdir", "user", *_ARCHIVE_KEYS}
_LISTS = {"packages", "command", "entrypoint", "components"}
_MOST_NAMES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRecipe:
    """How to make a base: ``base`` ("debian:bookworm") with ``packages`` from the archive as ``archive`` has it.

    ``env`` to ``user`` say how its containers start, ``reason`` is for people.
    """

    base: str
    packages: tuple[str, ...]
    archive: ArchiveSettings
    env: tuple[str, ...]
    command: tuple[str, ...]
    entrypoint: tuple[str, ...]
    workdir: str
    user: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    """One key of a table: names with tags, what they mean, and where it is written."""

    repository: str
    tags: str
    value: Mapping[str, Any]
    where: str


class Bases:
    """The table of bases of one home. It is read when something is looked up first: a name that is in the store needs it not."""

    def __init__(self, home: str) -> None:
        """Take the folder whose config.toml counts."""
        self._home = home
        self._entries: tuple[_Entry, ...] | None = None
        self._archives: dict[str, ArchiveSettings] = {}

    def find(self, reference: Reference) -> BaseRecipe | None:
        """Return how to make the image of that name, None for what is not known. Raises ``CarboyError`` for a wrong table."""
        if reference.digest is not None:
            return None
        name, tag = _short(reference), reference.tag or "latest"
        for entry in self._read():
            if entry.repository == name and fits(tag, entry.tags):
                return self._make(entry, tag)
        return None

    def list_names(self, reference: Reference | None = None) -> list[str]:
        """Return names that can be made, for a message: those of the reference's repository, where there are any."""
        entries = self._read()
        near = [entry for entry in entries if reference is not None and entry.repository == _short(reference)]
        if near:
            names = [f"{entry.repository}:{tag}" for entry in near for tag in expand_pattern(entry.tags)]
            return sorted(dict.fromkeys(names), key=lambda name: (len(name), name))[:_MOST_NAMES]
        return list(dict.fromkeys(f"{entry.repository}:{expand_pattern(entry.tags)[0]}" for entry in entries))

    def _read(self) -> tuple[_Entry, ...]:
        if self._entries is None:
            import tomllib

            path = f"{self._home}/{FILE}"
            self._archives = _read_archives(self._home)
            own = _parse_entries(read_table("bases", home=self._home), where=path)
            with open(_TABLE, "rb") as file:
                self._entries = (*own, *_parse_entries(tomllib.load(file)["bases"], where=_TABLE))
        return self._entries

    def _make(self, entry: _Entry, tag: str) -> BaseRecipe:
        value = entry.value
        distribution, _, suite = value["from"].partition(":")
        archive = _merge(self._archives.get(distribution, ArchiveSettings()), value)
        try:
            recipe = parse_recipe(
                f"{distribution}:{tag if suite == '*' else suite}",
                packages=tuple(value.get("packages", ())),
                architecture=next(iter(DISTRIBUTIONS[distribution].architectures)),
                any_suite=bool(archive.keyrings),
            )
        except CarboyError as error:
            error.details = "\n".join(filter(None, (entry.where, error.details)))
            raise
        env = {"PATH": _PATH, **value.get("env", {})}
        title = f"{recipe.known.title} {recipe.suite}"
        extra = f", whose packages give {value['what']}" if "what" in value else "'s minimal system"
        return BaseRecipe(
            base=recipe.name,
            packages=recipe.packages,
            archive=archive,
            env=tuple(f"{key}={text}" for key, text in env.items()),
            command=tuple(value.get("command", ())),
            entrypoint=tuple(value.get("entrypoint", ())),
            workdir=value.get("workdir", ""),
            user=value.get("user", ""),
            reason=f"{title}{extra}, from its signed archive",
        )


def read_archive_settings(home: str, distribution: str) -> ArchiveSettings:
    """Return what config.toml of the home says of a distribution's archive. Raises ``CarboyError`` (125) for a wrong table."""
    return _read_archives(home).get(distribution, ArchiveSettings())


def _read_archives(home: str) -> dict[str, ArchiveSettings]:
    return _parse_archives(read_table("archives", home=home), where=f"{home}/{FILE}")


def _short(reference: Reference) -> str:
    """Return the repository as people write it, without the tag."""
    if reference.registry == DEFAULT_REGISTRY:
        path = reference.repository.removeprefix(f"{OFFICIAL}/")
        return path if "/" not in path else reference.repository
    return f"{reference.registry}/{reference.repository}"


def _merge(settings: ArchiveSettings, value: Mapping[str, Any]) -> ArchiveSettings:
    """Return the settings with those that an entry of a table has itself."""
    if "mirror" in value:
        settings = replace(settings, mirror=value["mirror"], security_mirror=None)
    if "security_mirror" in value:
        settings = replace(settings, security_mirror=value["security_mirror"])
    if "components" in value:
        settings = replace(settings, components=tuple(value["components"]))
    if "keyring" in value:
        settings = replace(settings, keyrings=(value["keyring"],))
    return replace(settings, security=value.get("security", settings.security))


def _parse_archives(table: Mapping[str, Any], *, where: str) -> dict[str, ArchiveSettings]:
    """Return the settings of ``[archives.NAME]``. Raises ``CarboyError`` (125)."""
    found = {}
    for name, value in table.items():
        place = f"{where}: archives.{name}"
        if name not in DISTRIBUTIONS:
            raise CarboyError(f"{place}: no such distribution", hint=f"there is: {', '.join(DISTRIBUTIONS)}", code=125)
        _check(value, _ARCHIVE_KEYS, place)
        found[name] = _merge(ArchiveSettings(), value)
    return found


def _parse_entries(table: Mapping[str, Any], *, where: str) -> tuple[_Entry, ...]:
    """Return the entries of ``[bases."NAME:TAGS"]``, in their order. Raises ``CarboyError`` (125)."""
    entries = []
    for key, value in table.items():
        place = f"{where}: bases.{key!r}"
        head, slash, last = key.rpartition("/")
        name, colon, tags = last.partition(":")
        check_pattern(tags if colon else "*", place)
        _check(value, _BASE_KEYS, place)
        start = value.get("from")
        if start is None or start.partition(":")[0] not in DISTRIBUTIONS:
            known = ", ".join(DISTRIBUTIONS)
            raise CarboyError(
                f"{place}: from does not name a distribution",
                hint=f'write from = "NAME:SUITE"; names: {known}',
                code=125,
            )
        entries.append(_Entry(repository=f"{head}{slash}{name}", tags=tags if colon else "*", value=value, where=place))
    return tuple(entries)


def _check(value: Any, keys: Sequence[str] | set[str], place: str) -> None:
    """Raise ``CarboyError`` (125) unless ``value`` is a table of these keys with values of the right kinds."""
    if not isinstance(value, dict):
        raise CarboyError(f"{place} must be a table", hint="write it as [NAME] and lines of KEY = VALUE", code=125)
    for key, item in value.items():
        if key not in keys:
            raise CarboyError(
                f"{place}: there is no {key[:100]!r}", hint=f"there is: {', '.join(sorted(keys))}", code=125
            )
        if key in _LISTS:
            right, kind = isinstance(item, list) and all(isinstance(one, str) for one in item), "a list of texts"
        elif key == "env":
            right = isinstance(item, dict) and all(isinstance(one, str) for one in item.values())
            kind = "a table of texts"
        elif key == "security":
            right, kind = isinstance(item, bool), "true or false"
        else:
            right, kind = isinstance(item, str), "a text"
        if not right:
            raise CarboyError(f"{place}: {key} must be {kind}", hint="correct that line", code=125)
