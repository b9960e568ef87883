"""``conda-lock.yml`` (version 1) and ``pixi.lock`` (versions 5 and 6), to the packages that they name for a platform. Pure.

Sources: conda-lock's lock model v1; rattler_lock's own documents of both versions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.environments.conda.channels import split_address
from carboy.environments.conda.document import Value, parse_document
from carboy.environments.conda.wants import CondaPackage, CondaWants, make_package
from carboy.environments.detect.wants import Wants
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

CONDA_LOCK = "conda-lock.yml"
PIXI_LOCK = "pixi.lock"
_PIXI_VERSIONS = ("5", "6")


def parse_conda_lock(text: str, *, subdir: str) -> CondaWants:
    """Return the packages of the category ``main`` for the platform ``subdir``. Raises ``CarboyError``."""
    value = parse_document(text, file=CONDA_LOCK)
    if value.get("version") != "1":
        raise CarboyError(
            f"{CONDA_LOCK} is of a version that is not read", hint="write it with conda-lock 1.0 or newer"
        )
    items = _maps(value.get("package", []), CONDA_LOCK)
    platforms = sorted({_text(item, "platform") for item in items})
    _check_platform(subdir, platforms, CONDA_LOCK, f"conda-lock lock --platform {subdir}")
    conda, pip = [], []
    for item in items:
        if _text(item, "platform") != subdir or (_text(item, "category") or "main") != "main":
            continue
        marks = item.get("hash", {})
        sha256 = _text(marks, "sha256") if isinstance(marks, dict) else ""
        if _text(item, "manager") == "pip":
            pip.append(_pin(_text(item, "name"), _text(item, "version"), sha256, CONDA_LOCK))
        else:
            conda.append(_package(_text(item, "url"), sha256, "", CONDA_LOCK))
    return _wants(CONDA_LOCK, conda, pip)


def parse_pixi_lock(text: str, *, subdir: str, environment: str = "default") -> CondaWants:
    """Return the packages of an environment for the platform ``subdir``. Raises ``CarboyError``."""
    value = parse_document(text, file=PIXI_LOCK)
    if value.get("version") not in _PIXI_VERSIONS:
        raise CarboyError(
            f"{PIXI_LOCK} is of version {value.get('version', 'none')!s:.20}, which is not read",
            hint=f"versions {' and '.join(_PIXI_VERSIONS)} are: write it anew with a pixi that has them",
        )
    environments = value.get("environments", {})
    found = environments.get(environment) if isinstance(environments, dict) else None
    packages = found.get("packages") if isinstance(found, dict) else None
    if not isinstance(packages, dict):
        raise CarboyError(f"{PIXI_LOCK} has no environment {environment}", hint="`pixi lock` writes it anew")
    _check_platform(subdir, sorted(packages), PIXI_LOCK, f"pixi workspace platform add {subdir}")
    records = {_address(item): item for item in _maps(value.get("packages", []), PIXI_LOCK)}
    conda, pip = [], []
    for entry in _maps(packages[subdir], PIXI_LOCK):
        url = _address(entry)
        record = records.get(url, {})
        if "conda" in entry:
            conda.append(_package(url, _text(record, "sha256"), _text(record, "size"), PIXI_LOCK))
        elif url not in {".", "./"}:  # the folder itself is in the image as it is
            pip.append(_pin(_text(record, "name"), _text(record, "version"), _text(record, "sha256"), PIXI_LOCK))
    return _wants(PIXI_LOCK, conda, pip)


def _address(item: Mapping[str, Value]) -> str:
    return _text(item, "conda") or _text(item, "pypi") or _text(item, "url") or _text(item, "path")


def _check_platform(subdir: str, platforms: Iterable[str], lock: str, command: str) -> None:
    if subdir not in platforms:
        raise CarboyError(
            f"{lock} has no packages for {subdir}",
            details=f"it has them for {', '.join(platforms) or 'no platform'}",
            hint=f"lock that platform too: `{command}`",
        )


def _maps(value: Value, lock: str) -> list[dict[str, Value]]:
    found = [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
    if not isinstance(value, list) or len(found) != len(value):
        raise CarboyError(f"{lock} has no list of packages", hint="write the lock anew with its tool")
    return found


def _text(item: Mapping[str, Value], key: str) -> str:
    value = item.get(key, "")
    return value if isinstance(value, str) else ""


def _package(url: str, sha256: str, size: str, lock: str) -> CondaPackage:
    channel, path = split_address(url, where=lock)
    size_bytes = int(size) if size.isascii() and size.isdigit() and len(size) <= 15 else 0
    return make_package(channel=channel, path=path, sha256=sha256, size_bytes=size_bytes, where=lock)


def _pin(name: str, version: str, sha256: str, lock: str) -> str:
    if not name or not version or not sha256:
        raise CarboyError(
            f"{lock} has no SHA-256 for {name or 'a package'} {version}".rstrip(),
            hint="a package at a repository or a local place cannot be locked by its hash; name a released version",
        )
    return f"{name}=={version} --hash=sha256:{sha256}"


def _wants(lock: str, conda: list[CondaPackage], pip: list[str]) -> CondaWants:
    names = [package.name for package in conda]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise CarboyError(f"{lock} names {twice[0]} twice", hint="write the lock anew with its tool")
    text = "".join(f"{line}\n" for line in sorted(pip))
    pins = "".join(f"{line.partition(' ')[0]}\n" for line in sorted(pip))
    wants = Wants(requirements=pins, constraints=pins, allowed=text, file=lock, source=lock) if pip else None
    return CondaWants(
        file=lock, source=lock, packages=tuple(sorted(conda, key=lambda package: package.name)), pip=wants
    )
