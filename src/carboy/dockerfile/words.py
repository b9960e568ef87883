"""Words of the language: quotes, escapes and variables with every modifier.

``$x ${x} ${x:-w} ${x-w} ${x:+w} ${x+w} ${x:?w} ${x?w} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}``; words nest. Patterns
know only ``*``, ``?`` and escapes. Source: moby/buildkit, frontend/dockerfile/shell/lex.go.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.value import Value

# Deeper than any person nests, and well below the interpreter's own limit.
_MAX_DEPTH = 50
_SPECIAL_PARAMETERS = frozenset("@*#?-$!0")
_PLAIN = re.compile(r"[^$'\"\\`<]*")
_OTHER_SPACES = frozenset("\x1c\x1d\x1e\x1f")  # blanks for str.isspace, not for Go
_MODIFIERS = frozenset("+-?#%")


class Processed(Value):
    """A word after expansion: its ``text``, the same split at unquoted blanks, and the names it asked for."""

    text: str
    words: tuple[str, ...]
    matched: frozenset[str] = frozenset()
    unmatched: frozenset[str] = frozenset()


def is_space(character: str) -> bool:
    """Return whether a character separates words, as Go's unicode.IsSpace has it."""
    return character.isspace() and character not in _OTHER_SPACES


def process(
    word: str,
    env: Mapping[str, str],
    *,
    escape: str = "\\",
    raw_quotes: bool = False,
    raw_escapes: bool = False,
    skip_quotes: bool = False,
    keep_unset: bool = False,
) -> Processed:
    """Return ``word`` with the variables of ``env`` put in, and quotes and escapes resolved.

    ``raw_quotes`` and ``raw_escapes`` leave them in the text, ``skip_quotes`` makes quotes ordinary characters, ``keep_unset``
    leaves variables that are not set as they are written. Raises ``LanguageError``.
    """
    if _PLAIN.fullmatch(word):
        return Processed(text=word, words=tuple(word.split()))
    lexer = _Lexer(
        word=word, env=env, escape=escape, raw_quotes=raw_quotes, skip_quotes=skip_quotes, keep_unset=keep_unset
    )
    text, words = lexer.until("", raw_escapes=raw_escapes)
    return Processed(
        text=text, words=tuple(words), matched=frozenset(lexer.matched), unmatched=frozenset(lexer.unmatched)
    )


class _Words:
    """Gathers characters into words: blanks separate, unless they are quoted or escaped."""

    __slots__ = ("_word", "words")

    def __init__(self) -> None:
        self.words: list[str] = []
        self._word: list[str] = []

    def add(self, text: str, *, raw: bool) -> None:
        if raw:
            self._word.append(text)
            return
        for character in text:
            if is_space(character):
                self.end()
            else:
                self._word.append(character)

    def end(self) -> None:
        word = "".join(self._word)
        if word:
            self.words.append(word)
        self._word.clear()


@dataclass(slots=True, kw_only=True)
class _Lexer:
    word: str
    env: Mapping[str, str]
    escape: str
    raw_quotes: bool
    skip_quotes: bool
    keep_unset: bool
    at: int = 0
    depth: int = 0
    raw_escapes: bool = False
    matched: set[str] = field(default_factory=set)
    unmatched: set[str] = field(default_factory=set)

    def peek(self) -> str:
        return self.word[self.at] if self.at < len(self.word) else ""

    def take(self) -> str:
        character = self.peek()
        self.at += 1
        return character

    def until(self, stop: str, *, raw_escapes: bool) -> tuple[str, list[str]]:
        """Return what stands before ``stop`` ("": the end), which is taken as well, whole and as words."""
        before, self.raw_escapes = self.raw_escapes, raw_escapes
        text: list[str] = []
        words = _Words()
        while self.at < len(self.word):
            character = self.word[self.at]
            if character == stop:
                self.at += 1
                break
            if character == "$":
                made = self.dollar()
                words.add(made, raw=False)
            elif character in "'\"" and not self.skip_quotes:
                made = self.single_quoted() if character == "'" else self.double_quoted()
                words.add(made, raw=True)
            elif character == "<":
                made = self.maybe_heredoc()
                words.add(made, raw=True)
            elif character == self.escape:
                self.at += 1
                made = (character if self.raw_escapes else "") + self.take()
                words.add(made, raw=True)
            else:
                self.at += 1
                made = character
                words.add(made, raw=False)
            text.append(made)
        else:
            if stop:
                raise LanguageError(f"unexpected end of statement while looking for matching {stop}", word=self.word)
        self.raw_escapes = before
        words.end()
        return "".join(text), words.words

    def maybe_heredoc(self) -> str:
        """Return "<", or "<<" with the blanks after it: they belong to the heredoc's word."""
        start = self.at
        self.at += 1
        if self.peek() == "<":
            self.at += 1
            while self.peek() in {" ", "\t"}:
                self.at += 1
        return self.word[start : self.at]

    def single_quoted(self) -> str:
        end = self.word.find("'", self.at + 1)
        if end < 0:
            raise LanguageError(
                "unexpected end of statement while looking for matching single-quote",
                word=self.word[self.at :],
                hint="close the quote, or write \\' for one that is meant",
            )
        made = self.word[self.at : end + 1] if self.raw_quotes else self.word[self.at + 1 : end]
        self.at = end + 1
        return made

    def double_quoted(self) -> str:
        start = self.at
        made = [self.take()] if self.raw_quotes else []
        self.at = start + 1
        while True:
            character = self.peek()
            if not character:
                raise LanguageError(
                    "unexpected end of statement while looking for matching double-quote",
                    word=self.word[start:],
                    hint='close the quote, or use the JSON form: ["a b", "/x/"]',
                )
            if character == '"':
                self.at += 1
                if self.raw_quotes:
                    made.append(character)
                return "".join(made)
            if character == "$":
                made.append(self.dollar())
                continue
            self.at += 1
            if character == self.escape:
                if self.raw_escapes:
                    made.append(character)
                following = self.peek()
                if not following:
                    continue
                if following in {'"', "$", self.escape}:
                    character = self.take()
            made.append(character)

    def dollar(self) -> str:
        """Return what a reference to a variable stands for."""
        start = self.at
        self.at += 1
        if self.peek() != "{":
            name = self.name()
            if not name:
                return "$"
            value = self.look_up(name)
            if value is None:
                return f"${name}" if self.keep_unset else ""
            return value
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise LanguageError("variables are nested too deeply", word=self.word[start:])
        try:
            return self.braced(start)
        finally:
            self.depth -= 1

    def braced(self, start: int) -> str:
        self.at += 1
        if not self.peek():
            raise self.missing(start)
        if self.peek() in "{}:":
            raise LanguageError(
                "syntax error: bad substitution",
                word=self.word[start : start + 4],
                hint="a name is expected after ${",
            )
        name = self.name()
        operator = self.take()
        if operator == "}":
            value = self.look_up(name)
            if value is None:
                return f"${{{name}}}" if self.keep_unset else ""
            return value
        if operator == "/":
            return self.replaced(name, start)
        colon = operator == ":"
        if colon:
            operator = self.take()
        if not operator:
            raise self.missing(start)
        written = (":" if colon else "") + operator
        if operator not in _MODIFIERS or (colon and operator in "#%"):
            raise LanguageError(
                f"unsupported modifier ({written}) in substitution",
                word=self.word[start : self.at],
                hint="these are known: :- - :+ + :? ? # ## % %% / //",
            )
        word = self.part("}", start, raw_escapes=operator in "#%")
        return self.modified(name, operator, word, colon=colon)

    def modified(self, name: str, operator: str, word: str, *, colon: bool) -> str:
        value = self.look_up(name)
        if value is None and self.keep_unset:
            return f"${{{name}{':' if colon else ''}{operator}{word}}}"
        empty = value is None or (colon and value == "")
        if operator == "-":
            return word if empty else value or ""
        if operator == "+":
            return "" if empty else word
        if operator == "?":
            if empty:
                why = "is not allowed to be unset" if value is None else "is not allowed to be empty"
                raise LanguageError(f"{name}: {word or why}", word=name, hint=f"give it with --build-arg {name}=...")
            return value or ""
        longest = word[:1] == operator
        pattern = word[1:] if longest else word
        return _trim(value or "", pattern, prefix=operator == "#", longest=longest)

    def replaced(self, name: str, start: int) -> str:
        everywhere = self.peek() == "/"
        if everywhere:
            self.at += 1
        try:
            pattern, _ = self.until("/", raw_escapes=True)
        except LanguageError as error:
            if self.at >= len(self.word):
                raise LanguageError("syntax error: missing '/' in ${}", word=self.word[start:]) from error
            raise
        replacement = self.part("}", start, raw_escapes=True)
        value = self.look_up(name)
        if value is None and self.keep_unset:
            return f"${{{name}/{pattern}/{replacement}}}"
        found = re.compile(_pattern(pattern, longest=True))
        if everywhere:
            return found.sub(lambda match: _fill(replacement, match.group()), value or "")
        return found.sub(lambda _: replacement, value or "", count=1)

    def part(self, stop: str, start: int, *, raw_escapes: bool) -> str:
        try:
            return self.until(stop, raw_escapes=raw_escapes)[0]
        except LanguageError as error:
            if self.at >= len(self.word) and error.message.startswith("unexpected end of statement"):
                raise self.missing(start) from error
            raise

    def missing(self, start: int) -> LanguageError:
        return LanguageError("syntax error: missing '}'", word=self.word[start:], hint="close the variable with }")

    def name(self) -> str:
        """Return the name at this place: letters, digits and "_", or one special parameter; "" when there is none."""
        start, character = self.at, self.peek()
        if character.isdecimal():
            while self.peek().isdecimal():
                self.at += 1
        elif character and character in _SPECIAL_PARAMETERS:
            self.at += 1
        else:
            while (character := self.peek()) and (character.isalpha() or character.isdecimal() or character == "_"):
                self.at += 1
        return self.word[start : self.at]

    def look_up(self, name: str) -> str | None:
        value = self.env.get(name)
        (self.unmatched if value is None else self.matched).add(name)
        return value


def _trim(value: str, pattern: str, *, prefix: bool, longest: bool) -> str:
    """Return ``value`` without what ``pattern`` matches at its beginning or its end."""
    if prefix:
        match = re.match(_pattern(pattern, longest=longest), value)
        return value[match.end() :] if match else value
    # Nothing finds the shortest match at the end but a search for the pattern, turned round, in the value turned round.
    match = re.match(_pattern(pattern, longest=longest, backwards=True), value[::-1])
    return value[: len(value) - match.end()] if match else value


def _pattern(pattern: str, *, longest: bool, backwards: bool = False) -> str:
    """Return a pattern of the language as a regular expression that no text makes slow.

    All stars but the last take as little as they can and stay with it, which finds a match whenever there is one.
    """
    parts = _pattern_parts(pattern)
    if backwards:
        parts.reverse()
    stars = [number for number, part in enumerate(parts) if part == "*"]
    out: list[str] = []
    for number, part in enumerate(parts):
        if part != "*":
            out.append(part)
        elif number == stars[-1]:
            out.append(("" if number == stars[0] else ")") + (".*" if longest else ".*?"))
        else:
            out.append(("" if number == stars[0] else ")") + "(?>.*?")
    return "".join(out)


def _pattern_parts(pattern: str) -> list[str]:
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        character = pattern[at]
        at += 1
        if character in "*?":
            parts.append("*" if character == "*" else ".")
        elif character == "\\":
            following = pattern[at : at + 1]
            if following not in {"}", "/"}:
                if following not in {"*", "?", "\\"}:
                    raise LanguageError(
                        f"invalid pattern ({pattern}) in substitution: invalid escape '\\{following}'", word=pattern
                    )
                parts.append(re.escape(following))
                at += 1
        else:
            parts.append(re.escape(character))
    return parts


def _fill(template: str, match: str) -> str:
    """Return a replacement as Go's ReplaceAllString fills it in: $0 is the match, other groups are empty, $$ is "$"."""
    if "$" not in template:
        return template
    return re.sub(
        r"\$(?:(\$)|\{(\w+)\}|(\w+))",
        lambda found: "$" if found[1] else match if (found[2] or found[3]) == "0" else "",
        template,
        flags=re.ASCII,
    )
