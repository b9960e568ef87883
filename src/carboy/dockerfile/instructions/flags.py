"""The flags of instructions: which there are, and what their values may be.

Source: instructions/bflag.go, instructions/parse.go.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.suggest import did_you_mean

Kind: TypeAlias = Literal["text", "texts", "switch"]

KNOWN: dict[str, dict[str, Kind]] = {
    "FROM": {"platform": "text"},
    "RUN": {"mount": "texts", "network": "text", "security": "text"},
    "COPY": {
        "from": "text", "chown": "text", "chmod": "text", "link": "switch", "parents": "switch", "exclude": "texts",
    },
    "ADD": {
        "chown": "text", "chmod": "text", "link": "switch", "keep-git-dir": "switch", "checksum": "text", "unpack": "switch",
        "exclude": "texts",
    },
    "HEALTHCHECK": {"interval": "text", "timeout": "text", "start-period": "text", "start-interval": "text", "retries": "text"},
}  # fmt: skip
# These drop whatever flags they are given (trap 57).
WITHOUT_A_LOOK = frozenset({"ARG", "STOPSIGNAL"})


class Flags:
    """The flags of one instruction, checked against what it knows."""

    __slots__ = ("_switches", "_texts")

    def __init__(self, words: tuple[str, ...], instruction: str) -> None:
        """Read "--name=value" words. Raises ``LanguageError`` for an unknown or repeated one, or a value that is missing."""
        self._texts: dict[str, list[str]] = {}
        self._switches: dict[str, bool] = {}
        if not words or instruction in WITHOUT_A_LOOK:
            return
        known = KNOWN.get(instruction, {})
        for word in words:
            name, equals, value = word[2:].partition("=")
            kind = known.get(name)
            if kind is None:
                raise _unknown(word, name, instruction, list(known))
            if kind != "texts" and (name in self._texts or name in self._switches):
                raise LanguageError(f"duplicate flag specified: --{name}", word=word, hint="give it once")
            if kind == "switch":
                self._switches[name] = _switch(word, name, value, bool(equals))
            elif not equals:
                raise LanguageError(f"missing a value on flag: --{name}", word=word, hint=f"write --{name}=value")
            else:
                self._texts.setdefault(name, []).append(value)

    def text(self, name: str) -> str:
        """Return a flag's value, "" when it is not there."""
        return self._texts.get(name, [""])[0]

    def texts(self, name: str) -> tuple[str, ...]:
        """Return the values of a flag that may stand several times."""
        return tuple(self._texts.get(name, ()))

    def switch(self, name: str) -> bool | None:
        """Return whether a switch is on, None when it is not there."""
        return self._switches.get(name)


def _switch(word: str, name: str, value: str, given: bool) -> bool:
    if not given:
        return True
    lower = value.lower()
    if not lower:
        raise LanguageError(f"missing a value on flag: --{name}", word=word, hint=f"write --{name}, or --{name}=false")
    if lower not in {"true", "false"}:
        raise LanguageError(
            f"expecting boolean value for flag --{name}, not: {value}", word=word, hint="write true or false"
        )
    return lower == "true"


def _unknown(word: str, name: str, instruction: str, known: list[str]) -> LanguageError:
    if instruction == "RUN" and name == "device":
        return LanguageError(
            "the flag --device is not part of the stable language",
            word=word,
            hint="give devices to the container that runs",
        )
    guess = did_you_mean(name, known)
    hint = f"{instruction} knows {', '.join('--' + item for item in known)}" if known else f"{instruction} has no flags"
    return LanguageError(f"unknown flag: --{name}{guess}", word=word, hint=hint)
