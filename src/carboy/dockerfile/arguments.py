"""How the text after an instruction's name falls into arguments: flags, words, pairs, JSON and heredocs.

Sources: moby/buildkit, frontend/dockerfile/parser/{split_command,line_parsers,parser}.go.
"""

from __future__ import annotations

import re

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.value import Value
from carboy.dockerfile.words import is_space, process

_BLANKS = re.compile(r"[\t\v\f\r ]+")
_HEREDOC = re.compile(r"(\d*)<<(-?)\s*([^<]*)", re.ASCII)
_LEADING_TABS = re.compile(r"^\t+", re.MULTILINE)
_SURROGATES = re.compile("[\ud800-\udfff]")
_QUOTES = frozenset("'\"")


class Pair(Value):
    """``key=value`` as written; ``legacy`` when it stood without the "="."""

    key: str
    value: str
    legacy: bool = False


class Heredoc(Value):
    """A document within the file: ``content`` keeps its line ends. ``expand`` unless a part of its name was quoted.

    ``chomp`` is "<<-": leading tabs do not count. Bytes that are no UTF-8 are surrogates, as ``surrogateescape`` makes them.
    """

    name: str
    expand: bool = True
    chomp: bool = False
    content: str = ""

    @property
    def text(self) -> str:
        """The content without the tabs that do not count."""
        return _LEADING_TABS.sub("", self.content) if self.chomp else self.content


class Command(Value):
    """An instruction as text: its ``name`` as written, its flags ("--name=value", quotes resolved), and the ``rest``."""

    name: str
    flags: tuple[str, ...]
    rest: str


def split_command(line: str, *, escape: str) -> Command:
    """Return the name, the flags and the rest of an instruction's line."""
    name, *rest = _BLANKS.split(line.strip(), maxsplit=1)
    flags, text = _split_flags(rest[0], escape) if rest else ((), "")
    return Command(name=name, flags=flags, rest=text.strip())


def _split_flags(text: str, escape: str) -> tuple[tuple[str, ...], str]:
    """Return the words at the beginning that start with "--", and what follows; "--" alone ends them."""
    flags: list[str] = []
    at = 0
    while True:
        while at < len(text) and is_space(text[at]):
            at += 1
        if not text.startswith("--", at):
            return tuple(flags), text[at:]
        word, at = _unquoted_word(text, at, escape)
        if word == "--":
            return tuple(flags), text[at:]
        flags.append(word)


def _unquoted_word(text: str, at: int, escape: str) -> tuple[str, int]:
    """Return the word at ``at`` without quotes and escapes, and where it ends."""
    word: list[str] = []
    quote = ""
    while at < len(text):
        character = text[at]
        if not quote and is_space(character):
            break
        at += 1
        if quote and character == quote:
            quote = ""
        elif not quote and character in _QUOTES:
            quote = character
        elif character == escape:
            word.append(text[at : at + 1])
            at += 1
        else:
            word.append(character)
    return "".join(word), at


def split_blanks(text: str) -> tuple[str, ...]:
    """Return the words between blanks; quotes mean nothing here (trap 7)."""
    return tuple(_BLANKS.split(text)) if text else ()


def split_words(text: str, *, escape: str) -> tuple[str, ...]:
    """Return the words between blanks that are neither quoted nor escaped; quotes and escapes stay in them."""
    words: list[str] = []
    at = 0
    while True:
        while at < len(text) and is_space(text[at]):
            at += 1
        if at >= len(text):
            return tuple(words)
        quote, word = "", list[str]()
        while at < len(text) and (quote or not is_space(text[at])):
            character = text[at]
            at += 1
            if character == quote:
                quote = ""
            elif not quote and character in _QUOTES:
                quote = character
            elif character == escape and quote != "'":
                if at >= len(text):  # an escape at the very end is dropped
                    break
                word.append(character)
                character = text[at]
                at += 1
            word.append(character)
        if word:
            words.append("".join(word))


def split_pairs(text: str, name: str, *, escape: str) -> tuple[Pair, ...]:
    """Return the pairs of ENV or LABEL; the first word without "=" makes all the rest of the line one value (trap 8)."""
    words = split_words(text, escape=escape)
    if not words:
        return ()
    if "=" not in words[0]:
        parts = _BLANKS.split(text, maxsplit=1)
        if len(parts) < 2:
            raise LanguageError(
                f"{name} must have two arguments",
                word=text,
                hint=f"write {name} {parts[0]}=value; {name} {parts[0]}= is empty",
            )
        return (Pair(key=parts[0], value=parts[1], legacy=True),)
    pairs = []
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise LanguageError(
                f'Syntax error - can\'t find = in "{word}". Must be of the form: name=value',
                word=word,
                hint='a value with blanks stands in quotes: name="a value"',
            )
        pairs.append(Pair(key=key, value=value))
    return tuple(pairs)


def parse_json_words(text: str) -> tuple[str, ...] | None:
    """Return the strings of a JSON array, None when ``text`` is not JSON as Go reads it: it is the shell form then.

    Raises ``LanguageError`` when it is JSON, but not of strings only (traps 5 and 6).
    """
    text = text.lstrip()
    if not text.startswith("["):
        return None
    import json

    try:
        values = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    if not all(isinstance(value, str) for value in values):
        raise LanguageError(
            "when using JSON array syntax, arrays must be comprised of strings only",
            word=text,
            hint='put every word in double quotes: ["sleep", "10"]',
        )
    return tuple(_SURROGATES.sub("\ufffd", value) for value in values)


def _refuse(constant: str) -> None:
    raise ValueError(constant)


def parse_heredoc(word: str) -> Heredoc | None:
    """Return the heredoc that a word begins ("<<EOF", "3<<-'E F'"), without its content; None when it begins none."""
    match = _HEREDOC.fullmatch(word)
    if match is None or not match[3]:
        return None
    try:
        plain = process(match[3], {}, keep_unset=True)
        raw = process(match[3], {}, keep_unset=True, raw_quotes=True)
    except LanguageError:  # half of a quoted name
        return None
    if len(plain.words) != 1:
        return None
    name = plain.words[0]
    return Heredoc(name=name, expand=_count_quotes(name) == _count_quotes(raw.text), chomp=match[2] == "-")


def _count_quotes(text: str) -> int:
    return text.count("'") + text.count('"')


def find_heredocs(line: str) -> list[Heredoc]:
    """Return the heredocs that an instruction's line begins, in order; the escape is always "\\" here (trap 53)."""
    if "<<" not in line:
        return []
    try:
        words = process(line, {}, raw_quotes=True, raw_escapes=True, keep_unset=True).words
    except LanguageError:
        return []
    return [heredoc for word in words if (heredoc := parse_heredoc(word)) is not None]
