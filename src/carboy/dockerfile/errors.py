"""What is wrong with a Dockerfile, shown where it stands."""

from __future__ import annotations

import re
from dataclasses import dataclass

from carboy.dockerfile.value import Value
from carboy.errors import CarboyError

# Lines of one instruction that an error shows: an instruction of more is cut at its end.
_MAX_SHOWN = 8
_MAX_WIDTH = 160


@dataclass(frozen=True, slots=True)
class Span:
    """The lines of an instruction, from 1, both included; (0, 0) when it stands in no file."""

    first: int
    last: int


class LanguageError(Exception):
    """A mistake that does not know yet where it stands: ``word`` is what the caret points at ("": the whole instruction)."""

    def __init__(self, message: str, *, word: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.word = word
        self.hint = hint


class DockerfileError(CarboyError):
    """A mistake in a Dockerfile: ``file`` as a person names it, ``line`` and ``column`` from 1 (0: no place)."""

    def __init__(
        self, message: str, *, file: str, line: int, column: int = 0, frame: str = "", hint: str = "", code: int = 1
    ) -> None:
        place = f"{file}:{line}: " if line else f"{file}: "
        super().__init__(place + message, details=frame, hint=hint, code=code)
        self.message = message
        self.file = file
        self.line = line
        self.column = column


class Source(Value):
    """The text of a Dockerfile by lines (without their ends), and what a person calls it."""

    file: str
    lines: tuple[str, ...]

    def error(self, wrong: LanguageError, span: Span) -> DockerfileError:
        """Return ``wrong`` as an error that shows the instruction at ``span``, with a caret below the word."""
        line, column = self.find(wrong.word, span)
        return DockerfileError(
            wrong.message,
            file=self.file,
            line=line,
            column=column,
            frame=self.frame(span, line=line, column=column, width=len(wrong.word)),
            hint=wrong.hint,
        )

    def find(self, word: str, span: Span) -> tuple[int, int]:
        """Return (line, column) of ``word`` in the instruction at ``span``; its first word where it is not found."""
        lines = self.lines[max(span.first - 1, 0) : span.last]
        if word:
            # As a word of its own, else wherever it is.
            for form in (rf"(?<!\S){re.escape(word)}(?!\S)", re.escape(word)):
                for number, text in enumerate(lines, max(span.first, 1)):
                    if match := re.search(form, text):
                        return number, match.start() + 1
        if not lines:
            return span.first, 0
        return span.first, len(lines[0]) - len(lines[0].lstrip()) + 1

    def text(self, span: Span) -> str:
        """Return the lines of the instruction at ``span``, joined by line feeds."""
        return "\n".join(self.lines[max(span.first - 1, 0) : span.last])

    def frame(self, span: Span, *, line: int, column: int, width: int) -> str:
        """Return the instruction with its line numbers and a caret, as compilers show it; "" when there is nothing to show."""
        if not 0 < span.first <= len(self.lines):
            return ""
        first, last = span.first, min(span.last, len(self.lines))
        if last - first >= _MAX_SHOWN:
            first = max(first, min(line - 2, last - _MAX_SHOWN + 1))
            last = min(last, first + _MAX_SHOWN - 1)
        gutter = len(str(last))
        shown = []
        for number in range(first, last + 1):
            text = self.lines[number - 1]
            shown.append(f"{number:>{gutter}} | {_visible(text)[:_MAX_WIDTH]}".rstrip())
            if number == line and column:
                before = len(_visible(text[: column - 1]))
                if before < _MAX_WIDTH:
                    length = max(1, min(width or len(text[column - 1 :].split(maxsplit=1)[0]), _MAX_WIDTH - before))
                    shown.append(f"{'':>{gutter}} | {'':>{before}}{'^' * length}")
        return "\n".join(shown)


def _visible(text: str) -> str:
    """Return a line without what moves the cursor."""
    text = text.expandtabs(4)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
