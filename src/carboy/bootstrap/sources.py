"""apt's sources and configuration, as text to values. Pure (sources.list(5), apt.conf(5))."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carboy.bootstrap.control import iter_paragraphs
from carboy.bootstrap.errors import ArchiveDataError

_ONE_LINE = re.compile(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s*(?P<components>.*)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One suite of one archive, as a host's apt knows it."""

    uri: str
    suite: str
    components: tuple[str, ...]


def parse_sources_list(text: str) -> list[Source]:
    """Return the binary sources of a one-line-style file; lines that apt would not take are left out."""
    sources = []
    for raw in text.splitlines():
        found = _ONE_LINE.match(raw.partition("#")[0].strip())
        if found is not None:
            components = tuple(found["components"].split())
            sources.append(Source(uri=found["uri"].rstrip("/"), suite=found["suite"].strip("/"), components=components))
    return sources


def parse_deb822_sources(text: str) -> list[Source]:
    """Return the enabled binary sources of a deb822-style file, one for each pair of address and suite."""
    sources = []
    try:
        paragraphs = list(iter_paragraphs(text.replace("\t", " ")))
    except ArchiveDataError:
        return []  # it is the host's file: one that its apt refuses too says nothing about where an archive is
    for paragraph in paragraphs:
        fields = {name.lower(): value for name, value in paragraph.items()}
        if "deb" not in fields.get("types", "").split() or fields.get("enabled", "yes").lower() in {"no", "false", "0"}:
            continue
        components = tuple(fields.get("components", "").split())
        sources += [
            Source(uri=uri.rstrip("/"), suite=suite.strip("/"), components=components)
            for uri in fields.get("uris", "").split()
            for suite in fields.get("suites", "").split()
        ]
    return sources


_TOKEN = re.compile(
    r'(?P<skip>\s+|//[^\n]*|/\*.*?\*/|#[^\n]*)|(?P<text>"[^"\n]*")|(?P<mark>[{};])|(?P<word>(?:(?!//|/\*)[^\s{};"])+)',
    re.S,
)


def parse_apt_conf(text: str) -> dict[str, str]:
    """Return the settings of an apt.conf file by their full lower-case name ("acquire::http::proxy").

    The last value of a name counts. Lists ("name:: value") are left out: none of the settings read here is one.
    """
    settings: dict[str, str] = {}
    scopes: list[str] = []
    words: list[str] = []
    for token in _TOKEN.finditer(text):
        if token["skip"]:
            continue
        if token["mark"] is None:
            words.append(token["text"][1:-1] if token["text"] else token["word"])
        elif token["mark"] == "{":
            scopes.append(words[0].lower() if words else "")
            words = []
        else:
            if len(words) > 1 and not words[0].startswith("#"):
                settings["::".join([*filter(None, scopes), words[0].lower()])] = words[1]
            words = []
            if token["mark"] == "}" and scopes:
                scopes.pop()
    return settings
