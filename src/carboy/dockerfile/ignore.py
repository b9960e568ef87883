"""``.dockerignore``: which files of a context are left out.

Patterns are anchored at the top; ``*``, ``?`` and ``[...]`` stay within a name, ``**`` does not; the last pattern that fits
decides, and one that fits a folder counts for all below it; "!" takes back in. Sources: moby/patternmatcher
(patternmatcher.go, ignorefile); Go's path/filepath.Match for what is an error.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable
from dataclasses import dataclass

from carboy.dockerfile.errors import LanguageError, Source, Span
from carboy.dockerfile.value import Value


@dataclass(frozen=True, slots=True)
class _Rule:
    """Patterns of one kind that follow each other: the first that fits changes what counts."""

    exception: bool
    form: re.Pattern[str]


class Ignore(Value):
    """Compiled patterns; ``patterns`` are their cleaned lines. Paths are relative, with "/", without one at the beginning."""

    patterns: tuple[str, ...]
    _rules: tuple[_Rule, ...]
    _exceptions: tuple[tuple[re.Pattern[str] | None, ...], ...]

    def matches(self, path: str, *, is_folder: bool = False) -> bool:  # noqa: ARG002
        """Return whether ``path``, or a folder above it, is left out. Folders and files are not told apart."""
        ignored = False
        for rule in self._rules:
            if rule.exception == ignored and rule.form.match(path):
                ignored = not rule.exception
        return ignored

    def may_hold_exceptions(self, path: str) -> bool:
        """Return whether below the folder ``path`` something may be taken back in, so that it must be read."""
        if not self._exceptions:
            return False
        names = path.split("/")
        return any(_may_be_below(names, exception) for exception in self._exceptions)

    @property
    def has_exceptions(self) -> bool:
        """Whether any pattern takes something back in."""
        return bool(self._exceptions)


def parse_ignore(text: str, *, file: str = ".dockerignore") -> tuple[str, ...]:
    """Return the patterns of a file, cleaned, in order. Raises ``DockerfileError`` for one that cannot be read."""
    lines = text.removeprefix("\ufeff").split("\n")
    source = Source(file=file, lines=tuple(line.rstrip("\r") for line in lines))
    found = []
    for number, line in enumerate(source.lines, 1):
        if line.startswith("#"):
            continue
        if pattern := _clean(line.strip()):
            try:
                _check_pattern(pattern)
            except LanguageError as wrong:
                raise source.error(wrong, Span(number, number)) from wrong
            found.append(pattern)
    return tuple(found)


def compile_ignore(patterns: Iterable[str]) -> Ignore:
    """Return patterns compiled; they need not be cleaned (``--exclude``). Raises ``LanguageError``."""
    cleaned = tuple(pattern for item in patterns if (pattern := _clean(item.strip())))
    rules: list[_Rule] = []
    exceptions: list[tuple[re.Pattern[str] | None, ...]] = []
    run: list[str] = []
    for number, pattern in enumerate(cleaned):
        exception, text = _check_pattern(pattern)
        run.append(_translate(text, pattern))
        if exception:
            exceptions.append(tuple(_component(name, pattern) for name in text.split("/")))
        following = cleaned[number + 1] if number + 1 < len(cleaned) else None
        if following is None or following.startswith("!") != exception:
            form = re.compile(f"(?:{'|'.join(run)})(?:/|\\Z)", re.DOTALL)
            rules.append(_Rule(exception, form))
            run.clear()
    return Ignore(patterns=cleaned, _rules=tuple(rules), _exceptions=tuple(exceptions))


def _clean(line: str) -> str:
    """Return a pattern as filepath.Clean leaves it, without a leading "/", the "!" kept."""
    if not line:
        return ""
    exception = line.startswith("!")
    text = line[1:].strip() if exception else line
    if text:
        text = posixpath.normpath(text)
        text = "/" + text.lstrip("/") if text.startswith("/") else text  # normpath keeps two of them
        if len(text) > 1 and text.startswith("/"):
            text = text[1:]
    return f"!{text}" if exception else text


def _check_pattern(pattern: str) -> tuple[bool, str]:
    exception = pattern.startswith("!")
    text = pattern[1:] if exception else pattern
    if not text:
        raise LanguageError('illegal exclusion pattern: "!"', word="!", hint="write the pattern after it")
    _translate(text, pattern)
    return exception, text


def _translate(text: str, pattern: str) -> str:
    """Return a pattern as a regular expression, without what ends it."""
    out: list[str] = []
    at = 0
    while at < len(text):
        character = text[at]
        at += 1
        if character == "*":
            if not text.startswith("*", at):
                out.append("[^/]*")
                continue
            at += 1
            if text.startswith("/", at):
                at += 1
            out.append(".*" if at >= len(text) else "(?:.*/)?")
        elif character == "?":
            out.append("[^/]")
        elif character == "[":
            made, at = _translate_class(text, at, pattern)
            out.append(made)
        elif character == "\\":
            if at >= len(text):
                raise _bad(pattern)
            out.append(re.escape(text[at]))
            at += 1
        else:
            out.append(re.escape(character))
    return "".join(out)


def _translate_class(text: str, at: int, pattern: str) -> tuple[str, int]:
    """Return the class of characters that begins before ``at``, and where it ends. Source: filepath.Match's matchChunk."""
    negated = text.startswith("^", at)
    at += negated
    ranges: list[str] = []
    while not (text.startswith("]", at) and ranges):
        low, at = _class_character(text, at, pattern)
        high = low
        if text.startswith("-", at):
            high, at = _class_character(text, at + 1, pattern)
        if high < low:
            raise _bad(pattern)
        ranges.append(re.escape(low) if low == high else f"{re.escape(low)}-{re.escape(high)}")
        if at >= len(text):
            raise _bad(pattern)
    return f"[{'^' if negated else ''}{''.join(ranges)}]", at + 1


def _class_character(text: str, at: int, pattern: str) -> tuple[str, int]:
    if at < len(text) and text[at] not in "-]":
        if text[at] != "\\":
            return text[at], at + 1
        if at + 1 < len(text):
            return text[at + 1], at + 2
    raise _bad(pattern)


def _bad(pattern: str) -> LanguageError:
    return LanguageError(
        f"syntax error in pattern: {pattern}",
        word=pattern,
        hint="[ needs its ], and \\ a character after it; write \\[ for a plain [",
    )


def _component(name: str, pattern: str) -> re.Pattern[str] | None:
    """Return what one name of a path must fit, None for "**" in it: whatever comes."""
    if "**" in name:
        return None
    try:
        return re.compile(_translate(name, pattern), re.DOTALL)
    except LanguageError:  # a class that holds a "/"
        return None


def _may_be_below(names: list[str], exception: tuple[re.Pattern[str] | None, ...]) -> bool:
    """Return whether a pattern, by its names, may fit something below the folder of ``names``."""
    for number, form in enumerate(exception):
        if form is None or number >= len(names):
            return True
        if not form.fullmatch(names[number]):
            return False
    # The pattern fits the folder, or one above it: what is below has been decided by a later pattern.
    return True
