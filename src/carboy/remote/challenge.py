"""What a registry wants to hear before it answers: the ``WWW-Authenticate`` header. Pure. Source: RFC 9110, section 11."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

MAX_HEADER = 16_384
_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_PARAMETER = re.compile(rf'\s*({_WORD})\s*=\s*(?:({_WORD})|"((?:[^"\\]|\\.)*)")\s*')
_SCHEME = re.compile(rf"[\s,]*({_WORD})(?:\s+|$|(?=,))")
_WORD68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*\s*(?=,|$)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way to answer: its ``scheme`` in small letters, and its parameters by their names in small letters."""

    scheme: str
    parameters: Mapping[str, str]


def parse_challenges(headers: Iterable[str]) -> tuple[Challenge, ...]:
    """Return the challenges of the headers, as many as can be read. Quoted values may hold commas, as scopes do."""
    found: list[Challenge] = []
    for header in headers:
        text, position = header[:MAX_HEADER], 0
        while scheme := _SCHEME.match(text, position):
            position = scheme.end()
            parameters, position = _parse_parameters(text, position)
            found.append(Challenge(scheme=scheme[1].lower(), parameters=parameters))
    return tuple(found)


def _parse_parameters(text: str, position: int) -> tuple[dict[str, str], int]:
    """Return the parameters from a position on, and where they end: a word without "=" is the next scheme."""
    parameters: dict[str, str] = {}
    token68 = _WORD68.match(text, position)
    if token68 and not _PARAMETER.match(text, position):
        return parameters, token68.end()
    while True:
        comma = re.compile(r"[\s,]*").match(text, position)
        parameter = _PARAMETER.match(text, comma.end() if comma else position)
        if parameter is None:
            return parameters, position
        name, word, quoted = parameter.groups()
        parameters.setdefault(name.lower(), word if word is not None else re.sub(r"\\(.)", r"\1", quoted))
        position = parameter.end()


def choose_challenge(challenges: Iterable[Challenge]) -> Challenge | None:
    """Return the one to answer: Bearer with a realm, else Basic; None where neither is offered."""
    there = list(challenges)
    for one in there:
        if one.scheme == "bearer" and one.parameters.get("realm"):
            return one
    return next((one for one in there if one.scheme == "basic"), None)
