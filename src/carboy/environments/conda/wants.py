"""The values of the room: packages, and what a folder wants of them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.environments.detect.wants import Wants

PREFIX = "/opt/conda"
"""Where conda's packages lie in an image: the prefix that is written into them."""
CACHE = "conda"
"""The folder of the home's cache that has lists and packages."""
SUBDIRS = {"amd64": "linux-64", "arm64": "linux-aarch64", "ppc64le": "linux-ppc64le", "riscv64": "linux-riscv64"}
"""conda's names of platforms, by OCI's architectures."""
SUFFIXES = (".conda", ".tar.bz2")
LINE = re.compile(r"(\S+) (\S+) (\S+)/([\w-]+/[^/\s]+(?:\.conda|\.tar\.bz2)) sha256:([0-9a-f]{64})", re.ASCII)
_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+!-]*", re.ASCII)
_HEX = re.compile(r"[0-9a-f]{64}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaRecord:
    """What a channel's list says of a package to whoever solves: what it needs, what holds for others beside it, its build."""

    depends: tuple[str, ...]
    constrains: tuple[str, ...]
    build_number: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaPackage:
    """A package file: ``path`` is where it lies in its channel ("linux-64/python-3.11.9-0.conda"), ``size_bytes`` 0 if unknown.

    ``channel`` is a name or, where it has none, an address; ``record`` is what its list said, where it was chosen from one.
    """

    name: str
    version: str
    channel: str
    path: str
    sha256: str
    size_bytes: int = 0
    record: CondaRecord | None = field(default=None, compare=False)

    @property
    def identity(self) -> str:
        """What its bytes in an image depend on: the same from every channel."""
        return f"{self.path} sha256:{self.sha256}"

    @property
    def line(self) -> str:
        """The package in a lock."""
        return f"{self.name} {self.version} {self.channel}/{self.path} sha256:{self.sha256}"


@dataclass(frozen=True, slots=True, kw_only=True)
class CondaWants:
    """What a folder asks for: ``specs`` to be solved among ``channels``, or ``packages`` of a lock.

    ``pip`` are Python packages from an index that stand above, ``variables`` what is set in the image's environment. ``file``
    says so, ``source`` is what people call that.
    """

    file: str
    source: str
    channels: tuple[str, ...] = ()
    specs: tuple[str, ...] = ()
    packages: tuple[CondaPackage, ...] = ()
    pip: Wants | None = None
    variables: tuple[tuple[str, str], ...] = ()


def make_package(*, channel: str, path: str, sha256: str, size_bytes: int = 0, where: str) -> CondaPackage:
    """Return the package at ``path`` of a channel.

    Raises ``CarboyError`` that names ``where`` for what is no package of conda's, or has no hash.
    """
    name, version = split_file_name(path.rpartition("/")[2], where=where)
    if not _HEX.fullmatch(sha256):
        raise CarboyError(
            f"{where} has no SHA-256 for {name} {version}",
            hint="an MD5 alone protects from nothing; write the lock anew with a current tool",
        )
    return CondaPackage(name=name, version=version, channel=channel, path=path, sha256=sha256, size_bytes=size_bytes)


def make_record(value: Mapping[str, Any]) -> CondaRecord:
    """Return what a list says of a package."""
    return CondaRecord(
        depends=tuple(map(str, value["depends"])),
        constrains=tuple(map(str, value["constrains"])),
        build_number=int(value["build_number"]),
    )


def split_file_name(file: str, *, where: str) -> tuple[str, str]:
    """Return name and version of ``NAME-VERSION-BUILD.conda``. Raises ``CarboyError`` for another form."""
    suffix = next((suffix for suffix in SUFFIXES if file.endswith(suffix)), "")
    parts = file.removesuffix(suffix).rsplit("-", 2)
    if not suffix or len(parts) != 3 or not all(_FILE.fullmatch(part) for part in parts):
        raise CarboyError(
            f"{where} names {file[:100]!r}, which is no package of conda's", hint="write the lock anew with its tool"
        )
    return parts[0], parts[1]


def parse_line(line: str) -> CondaPackage:
    """Return the package of a line of ``carboy.lock``. Raises ``CarboyError``."""
    match = LINE.fullmatch(line)
    if match is None:
        raise CarboyError(
            "carboy.lock has a line that names no package",
            details=line[:200],
            hint="remove it, and `carboy lock` writes it anew",
        )
    _, _, channel, path, sha256 = match.groups()
    return make_package(channel=channel, path=path, sha256=sha256, where="carboy.lock")
