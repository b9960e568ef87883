"""Databases of packages as text to values. Pure, and tolerant: the files are an image's, and what cannot be read is left out.

Sources: deb-control(5) and /var/lib/dpkg/status; Python's "Core metadata specifications"; R, "Writing R Extensions", the
DESCRIPTION file; apk's "installed" database (apk-package(5)); conda's records in ``conda-meta``. Package URLs: the purl
specification and its types.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.attest.licences import find_expression, read_python_licence, read_r_licence

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_FIELD = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_CONDA_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")
_PLAIN = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-_~")


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Package:
    """One package: ``kind`` "deb", "apk", "pypi", "cran" or "conda"; ``licence`` an SPDX expression, "" where there is none to
    rely on.

    ``licence_text`` is what the package says of its licence in its own words, "" where it says nothing, or nothing else.
    ``arch`` is conda's subdir for its packages, and ``build`` their build.
    """

    kind: str
    name: str
    version: str
    arch: str = ""
    licence: str = ""
    source: str = ""
    licence_text: str = ""
    build: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """The distribution of an image, as os-release(5) has it: "" for what it does not say."""

    id: str = ""
    version: str = ""


def parse_system(text: str) -> System:
    """Return what /etc/os-release says."""
    found = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if equals and key in {"ID", "VERSION_ID"}:
            found[key] = value.strip().strip("\"'")
    values = {key: value for key, value in found.items() if _NAME.fullmatch(value)}
    return System(id=values.get("ID", ""), version=values.get("VERSION_ID", ""))


def parse_dpkg(text: str) -> Iterator[Package]:
    """Yield the installed packages of dpkg's status."""
    for fields in _paragraphs(text):
        status = fields.get("Status", "")
        if status and not status.endswith(" installed"):
            continue
        found = _package(fields.get("Package"), fields.get("Version"))
        if found is not None:
            source = fields.get("Source", "").partition(" ")[0]
            yield Package(
                kind="deb", name=found[0], version=found[1], arch=fields.get("Architecture", ""), source=source
            )


def parse_apk(text: str) -> Iterator[Package]:
    """Yield the packages of apk's database."""
    for paragraph in text.split("\n\n"):
        fields = {line[0]: line[2:] for line in paragraph.splitlines() if line[1:2] == ":"}
        found = _package(fields.get("P"), fields.get("V"))
        if found is not None:
            yield Package(
                kind="apk", name=found[0], version=found[1], arch=fields.get("A", ""),
                licence=find_expression(fields.get("L", "")), source=fields.get("o", ""),
                licence_text="" if find_expression(fields.get("L", "")) else fields.get("L", ""),
            )  # fmt: skip


def parse_origin(text: str) -> str:
    """Return what a ``direct_url.json`` says of a repository (PEP 610): ``git+URL@COMMIT``; "" for what is no such thing."""
    try:
        value = json.loads(text)
        kind, url, commit = value["vcs_info"]["vcs"], value["url"], value["vcs_info"]["commit_id"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return ""
    found = f"{kind}+{url}@{commit}"
    return found if re.fullmatch(r"[a-z]+\+[!-~]+@[0-9a-f]{40,64}", found) and len(found) <= MAX_FIELD else ""


def parse_python(text: str, *, origin: str = "") -> Iterator[Package]:
    """Yield the package of a METADATA file. Its description, which is free text, is not read; ``origin`` is its repository."""
    head = text.replace("\r\n", "\n").split("\n\n", 1)[0]
    for fields in _paragraphs(head):
        found = _package(fields.get("Name"), fields.get("Version"))
        if found is not None:
            name = re.sub(r"[-_.]+", "-", found[0]).lower()
            classifiers = [line[11:].strip() for line in head.splitlines() if line.startswith("Classifier:")]
            licence, said = read_python_licence(
                fields.get("License-Expression", ""), fields.get("License", ""), classifiers
            )
            yield Package(kind="pypi", name=name, version=found[1], licence=licence, source=origin, licence_text=said)


def parse_r(text: str) -> Iterator[Package]:
    """Yield the package of a DESCRIPTION file. R's names of licences are its own."""
    for fields in _paragraphs(text):
        found = _package(fields.get("Package"), fields.get("Version"))
        if found is not None and "Built" in fields:  # else it is the source of one
            licence, said = read_r_licence(fields.get("License", ""))
            yield Package(kind="cran", name=found[0], version=found[1], licence=licence, licence_text=said)


def parse_conda(text: str) -> Iterator[Package]:
    """Yield the package of a record in ``conda-meta``. Where it came from is not in it."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return
    if not isinstance(value, dict):
        return
    fields = {key: item for key, item in value.items() if isinstance(item, str) and item.isprintable()}
    name, version = fields.get("name", ""), fields.get("version", "")
    if _CONDA_NAME.fullmatch(name) and version and " " not in version:
        said = fields.get("license", "")[:MAX_FIELD]
        licence = find_expression(said)
        yield Package(
            kind="conda", name=name, version=version, arch=fields.get("subdir", ""), build=fields.get("build", ""),
            licence=licence, licence_text="" if licence else said,
        )  # fmt: skip


def make_purl(package: Package, system: System) -> str:
    """Return the package URL. Source: purl-spec, PURL-TYPES."""
    name, version = quote(package.name), quote(package.version)
    if package.kind == "conda":
        return f"pkg:conda/{name}@{version}{_qualify(('build', package.build), ('subdir', package.arch))}"
    if package.kind == "pypi" and package.source:
        return f"pkg:pypi/{name}@{version}{_qualify(('vcs_url', package.source))}"
    if package.kind not in {"deb", "apk"}:
        return f"pkg:{package.kind}/{name}@{version}"
    space = system.id or ("alpine" if package.kind == "apk" else "debian")
    distro = f"{system.id}-{system.version}" if system.id and system.version else ""
    return f"pkg:{package.kind}/{quote(space)}/{name}@{version}{_qualify(('arch', package.arch), ('distro', distro))}"


def _qualify(*qualifiers: tuple[str, str]) -> str:
    text = "&".join(f"{key}={quote(value)}" for key, value in qualifiers if value)
    return f"?{text}" if text else ""


def quote(text: str) -> str:
    """Return text as a part of a package URL."""
    return "".join(c if c in _PLAIN else "".join(f"%{byte:02X}" for byte in c.encode()) for c in text)


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    """Yield the fields of each paragraph, a field's first line."""
    for paragraph in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n")):
        fields: dict[str, str] = {}
        for line in paragraph.splitlines():
            key, colon, value = line.partition(":")
            if colon and key and not key[0].isspace() and key not in fields:
                fields[key] = value.strip()[:MAX_FIELD]
        if fields:
            yield fields


def _package(name: str | None, version: str | None) -> tuple[str, str] | None:
    if not name or not version or not _NAME.fullmatch(name) or not version.isprintable() or " " in version:
        return None
    return name, version
