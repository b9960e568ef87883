"""``carboy.toml``, and what is said instead of it elsewhere: pure."""

from __future__ import annotations

import posixpath
import re
import shlex
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import Any

from carboy.errors import CarboyError

_KEYS: dict[str, dict[str, type | tuple[type, ...]]] = {
    "run": {"command": (str, list), "network": str, "env": dict},
    "python": {"version": str, "requirements": str, "extras": list, "groups": list},
    "r": {"version": str, "requirements": str, "packages": list, "versions": str, "suggests": bool},
    "system": {"packages": list},
    "conda": {"skip-scripts": list},
    "build": {"front": str, "post-build": (str, bool)},
    "data": {"paths": list},
    "files": {"include": list, "exclude": list},
}
_SHELL = ("/bin/sh", "-c")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What ``carboy.toml`` asks for; empty where it says nothing.

    ``exclude`` and ``include`` are patterns as ignore files have them: what stays out of the image, and what of that does not.
    ``post_build`` is the script that ends a build, by its path ("": the folder's postBuild, None: no script).
    """

    command: tuple[str, ...] = ()
    network: str = ""
    env: dict[str, str] = field(default_factory=dict)
    python: str = ""
    requirements: str = ""
    extras: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    front: str = ""
    post_build: str | None = ""
    data: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    has_r: bool = False
    r_version: str = ""
    r_requirements: str = ""
    r_packages: tuple[str, ...] = ()
    r_versions: str = "locked"
    r_suggests: bool = False
    skipped_scripts: tuple[str, ...] = ()


def parse_settings(text: str) -> Settings:
    """Return the settings in ``text``. Raises ``CarboyError`` that names the wrong key and the nearest right one."""
    import tomllib  # as slow to load as all that a cached base needs

    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise CarboyError("carboy.toml is not valid TOML", details=str(error), hint="correct that line") from error
    for table, keys in value.items():
        _check_key(table, list(_KEYS), "")
        if not isinstance(keys, dict):
            raise CarboyError(f"carboy.toml: {table} is not a table", hint=f"write [{table}] on a line of its own")
        for key, item in keys.items():
            _check_key(key, list(_KEYS[table]), f"{table}.")
            if not isinstance(item, _KEYS[table][key]):
                raise CarboyError(f"carboy.toml: {table}.{key} has the wrong type", hint="the README shows its form")
    run, python = value.get("run", {}), value.get("python", {})
    if run.get("network", "none") not in {"none", "host", "private"}:
        raise CarboyError(f"carboy.toml: there is no network {run['network']!r}", hint="use none, host or private")
    front = value.get("build", {}).get("front", "")
    if front not in {"", "python", "dockerfile"}:
        raise CarboyError(f"carboy.toml: there is no front end {front!r}", hint='use front = "dockerfile" or "python"')
    r = value.get("r", {})
    if r.get("versions", "locked") not in {"locked", "distribution"}:
        raise CarboyError(
            f"carboy.toml: there are no R versions {r['versions']!r}", hint='use versions = "locked" or "distribution"'
        )
    return Settings(
        front=front,
        post_build=_post_build(value["build"]["post-build"]) if "post-build" in value.get("build", {}) else "",
        data=_data(value.get("data", {}).get("paths", [])),
        exclude=_patterns(value.get("files", {}).get("exclude", []), "files.exclude"),
        include=_patterns(value.get("files", {}).get("include", []), "files.include"),
        has_r="r" in value,
        r_version=r.get("version", ""),
        r_requirements=r.get("requirements", ""),
        r_packages=_strings(r.get("packages", []), "r.packages"),
        r_versions=r.get("versions", "locked"),
        r_suggests=r.get("suggests", False),
        command=_command(run["command"]) if "command" in run else (),
        network=run.get("network", ""),
        env={str(k): str(v) for k, v in run.get("env", {}).items()},
        python=python.get("version", ""),
        requirements=python.get("requirements", ""),
        extras=_strings(python.get("extras", []), "python.extras"),
        groups=_strings(python.get("groups", []), "python.groups"),
        packages=_strings(value.get("system", {}).get("packages", []), "system.packages"),
        skipped_scripts=_strings(value.get("conda", {}).get("skip-scripts", []), "conda.skip-scripts"),
    )


def _check_key(key: str, known: list[str], where: str) -> None:
    if key not in known:
        near = get_close_matches(key, known, n=1)
        hint = f"did you mean {where}{near[0]}?" if near else f"it knows {', '.join(where + name for name in known)}"
        raise CarboyError(f"carboy.toml has no key {where}{key}", hint=hint)


def _command(value: str | list[Any]) -> tuple[str, ...]:
    if isinstance(value, str):
        value = [*_SHELL, value] if value.strip() else []
    if not value:
        raise CarboyError("carboy.toml: run.command is empty", hint='write command = ["python", "train.py"]')
    return _strings(value, "run.command")


def _post_build(value: str | bool) -> str | None:
    """Return the path of the script that ends a build, None for none. Raises ``CarboyError``."""
    if value is False:
        return None
    path = posixpath.normpath(value) if isinstance(value, str) and value else ""
    if value is True or value == "" or path.startswith(("/", "../")) or path in {".", ".."} or not path.isprintable():
        raise CarboyError(
            f"carboy.toml: build.post-build is {value!r}, which is no file of the folder",
            hint='write post-build = "scripts/setup.sh", or post-build = false',
        )
    return path


def _data(value: list[Any]) -> tuple[str, ...]:
    """Return the paths of data, sorted, each once, none within another. Raises ``CarboyError``."""
    paths = set()
    for text in _strings(value, "data.paths"):
        parts = [part for part in text.split("/") if part not in {"", "."}]
        if text.startswith("/") or ".." in parts or not parts or not text.isprintable():
            raise CarboyError(
                f"carboy.toml: data.paths names {text!r}, which is no path in the folder", hint='write paths = ["data"]'
            )
        paths.add("/".join(parts))
    inner = [path for path in sorted(paths) if any(path.startswith(f"{other}/") for other in paths)]
    if inner:
        raise CarboyError(f"carboy.toml: data.paths names {inner[0]} twice", hint="name the outer folder only")
    return tuple(sorted(paths))


def _patterns(value: list[Any], name: str) -> tuple[str, ...]:
    """Return patterns of an ignore file. Raises ``CarboyError``."""
    for text in _strings(value, name):
        if not text.strip() or text.startswith(("!", "#")) or not text.isprintable():
            raise CarboyError(
                f"carboy.toml: {name} has {text!r}, which is no pattern",
                hint='write exclude = ["*.log"], and what stays all the same as include = ["keep.log"]',
            )
    return tuple(value)


def _strings(value: list[Any], name: str) -> tuple[str, ...]:
    if not all(isinstance(item, str) for item in value):
        raise CarboyError(f"carboy.toml: {name} is not a list of strings", hint="put each item in quotes")
    return tuple(value)


def parse_procfile(text: str) -> tuple[str, ...]:
    """Return the command of a Procfile's first entry ("web: gunicorn app"), () when it has none."""
    for line in text.splitlines():
        match = re.fullmatch(r"\s*[A-Za-z0-9_-]+\s*:\s*(.+?)\s*", line)
        if match:
            command = match.group(1)
            plain = re.fullmatch(r"[\w\s./:=@%+,-]*", command)
            return tuple(shlex.split(command)) if plain else (*_SHELL, command)
    return ()
