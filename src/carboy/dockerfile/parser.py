"""Text to a ``Dockerfile``: physical lines to instructions, instructions to their types.

Sources: moby/buildkit, frontend/dockerfile/parser/parser.go and instructions/parse.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from carboy.dockerfile.arguments import Command, Heredoc, find_heredocs, parse_json_words, split_command
from carboy.dockerfile.directives import parse_directives
from carboy.dockerfile.errors import LanguageError, Source, Span
from carboy.dockerfile.instructions.model import Arg, Dockerfile, From, Stage, StageInstruction
from carboy.dockerfile.instructions.parse import NAMES, ParsedLine, parse_instruction, unknown_instruction
from carboy.dockerfile.value import replace

MAX_LINE_BYTES = 65535
MAX_BYTES = 16 * 2**20
_WITH_HEREDOCS = frozenset({"ADD", "COPY", "RUN"})
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class _Lines:
    """The physical lines of a file, taken one after the other; ``lines`` have no ends, ``raw`` keep them."""

    raw: list[str]
    lines: tuple[str, ...]
    continued: re.Pattern[str]
    at: int = 0
    comments: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Logical:
    """An instruction's text on one line, its span, the comments above, and whether blank lines stood within."""

    text: str
    span: Span
    comments: tuple[str, ...]
    empty_lines: bool


def parse(data: bytes, *, file: str = "Dockerfile") -> Dockerfile:
    """Return what a Dockerfile's bytes say; ``file`` is what errors call it. Raises ``DockerfileError``.

    Every instruction is checked for its form, in all stages; names of stages and images are not looked up.
    """
    source, raw = _read_source(data, file)
    try:
        directives = parse_directives(source.lines)
    except LanguageError as wrong:
        raise source.error(wrong, Span(1, min(len(source.lines), 10))) from wrong
    lines = _Lines(raw=raw, lines=source.lines, continued=_continuation(directives.escape))
    global_args: list[Arg] = []
    stages: list[Stage] = []
    body: list[StageInstruction] = []
    empty: list[Span] = []
    for logical, parsed in _iter_parsed(lines, source, directives.escape):
        if logical.empty_lines:
            empty.append(logical.span)
        try:
            instruction = parse_instruction(parsed)
            if isinstance(instruction, From):
                _end_stage(stages, body)
                description = _describe(parsed.comments, instruction.stage)
                stages.append(Stage(index=len(stages), start=instruction, instructions=(), description=description))
            elif stages:
                body.append(instruction)
            elif isinstance(instruction, Arg):
                global_args.append(instruction)
            else:
                raise LanguageError(
                    "no build stage in current context", hint="only ARG may stand before the first FROM"
                )
        except LanguageError as wrong:
            raise source.error(wrong, parsed.span) from wrong
    _end_stage(stages, body)
    if not stages:
        what = "dockerfile contains no stages to build" if global_args else "file with no instructions"
        raise source.error(LanguageError(what, hint="write FROM and the name of an image"), Span(0, 0))
    return Dockerfile(
        source=source,
        directives=directives,
        global_args=tuple(global_args),
        stages=tuple(stages),
        empty_continuations=tuple(empty),
    )


def parse_trigger(text: str, *, source: Source, span: Span) -> StageInstruction:
    """Return the instruction of an ONBUILD trigger, as if it stood at ``span`` of ``source``; the escape is "\\" (trap 28)."""
    lines = text.split("\n")
    raw = [f"{line}\n" for line in lines[:-1]] + lines[-1:]
    try:
        reader = _Lines(raw=raw, lines=tuple(line.rstrip("\r") for line in lines), continued=_continuation("\\"))
        own = Source(file=f"ONBUILD trigger of {source.file}", lines=reader.lines)
        found = [parsed for _, parsed in _iter_parsed(reader, own, "\\")]
        if len(found) != 1:
            raise LanguageError("onbuild trigger should be a single expression", hint=f"the trigger is: {text}")
        instruction = parse_instruction(replace(found[0], span=span))
    except LanguageError as wrong:
        raise source.error(
            LanguageError(f"{wrong.message} in the ONBUILD trigger {text!r}", hint=wrong.hint), span
        ) from wrong
    if isinstance(instruction, From):
        raise source.error(LanguageError(f"FROM isn't allowed as an ONBUILD trigger: {text!r}"), span)
    return instruction


def _read_source(data: bytes, file: str) -> tuple[Source, list[str]]:
    """Return the source and its physical lines with their ends. Raises ``DockerfileError`` for what is no Dockerfile at all."""
    if len(data) > MAX_BYTES:
        wrong = LanguageError(
            f"the Dockerfile has {len(data)} bytes, more than {MAX_BYTES}", hint="check that it is the right file"
        )
        raise Source(file=file, lines=()).error(wrong, Span(0, 0))
    data = data.removeprefix(b"\xef\xbb\xbf")
    raw = data.decode("utf-8", "surrogateescape").split("\n")
    if raw[-1] == "":
        raw.pop()
        ended = True
    else:
        ended = False
    source = Source(file=file, lines=tuple(line.rstrip("\r") for line in raw))
    if len(data) > MAX_LINE_BYTES:
        for number, line in enumerate(raw, 1):
            if len(line) > MAX_LINE_BYTES // 4 and len(line.encode("utf-8", "surrogateescape")) > MAX_LINE_BYTES:
                wrong = LanguageError(
                    f"dockerfile line greater than max allowed size of {MAX_LINE_BYTES}",
                    hint="COPY a file in its place",
                )
                raise source.error(wrong, Span(number, number))
    if not data.strip():
        wrong = LanguageError("the Dockerfile cannot be empty", hint="write FROM and the name of an image")
        raise source.error(wrong, Span(0, 0))
    with_ends = [f"{line}\n" for line in raw]
    if not ended:
        with_ends[-1] = raw[-1]
    return source, with_ends


def _continuation(escape: str) -> re.Pattern[str]:
    """Return what ends a line that goes on in the next one: the escape, unless it is escaped itself, and blanks."""
    token = re.escape(escape)
    return re.compile(rf"(?:(?<=[^{token}])|^){token}[ \t]*\Z")


def _iter_parsed(lines: _Lines, source: Source, escape: str) -> Iterator[tuple[_Logical, ParsedLine]]:
    """Return the instructions with their heredocs, in order."""
    while (logical := _next_logical(lines)) is not None:
        span = logical.span
        try:
            command = split_command(logical.text, escape=escape)
            heredocs = _take_heredocs(lines, logical.text, _heredoc_owner(command, escape))
            span = Span(span.first, lines.at if heredocs else span.last)
            if _SURROGATE.search(logical.text) or "\0" in logical.text:
                raise LanguageError("the instruction is not UTF-8 text", hint="save the file as UTF-8")
        except LanguageError as wrong:
            raise source.error(wrong, span) from wrong
        yield (
            logical,
            ParsedLine(
                command=command,
                code=logical.text.strip(),
                span=span,
                comments=logical.comments,
                heredocs=heredocs,
                escape=escape,
            ),
        )


def _next_logical(lines: _Lines) -> _Logical | None:
    """Return the next instruction's text, None at the end.

    Comments and blank lines within a continuation do not end it (trap 3).
    """
    total = len(lines.lines)
    while lines.at < total:
        line = lines.lines[lines.at].lstrip()
        lines.at += 1
        if not line:
            lines.comments.clear()
            continue
        if line[0] == "#":
            comment = line[1:].strip()
            if comment:
                lines.comments.append(comment)
            else:
                lines.comments.clear()
            continue
        first = lines.at
        text, going_on = _cut_continuation(line, lines.continued)
        parts = [text]
        empty = False
        while going_on and lines.at < total:
            line = lines.lines[lines.at]
            lines.at += 1
            bare = line.lstrip()
            if not bare:
                empty = True
            elif bare[0] != "#":
                text, going_on = _cut_continuation(line, lines.continued)
                parts.append(text)
        comments = tuple(lines.comments)
        lines.comments.clear()
        return _Logical("".join(parts), Span(first, lines.at), comments, empty)
    return None


def _cut_continuation(line: str, continued: re.Pattern[str]) -> tuple[str, bool]:
    match = continued.search(line)
    return (line, False) if match is None else (line[: match.start()], True)


def _heredoc_owner(command: Command, escape: str) -> bool:
    """Return whether documents may follow: those of ADD, COPY and RUN, and of ONBUILD these, in the form that is not JSON."""
    name = command.name.upper()
    if name == "ONBUILD":
        command = split_command(command.rest, escape=escape)
        name = command.name.upper()
    return name in _WITH_HEREDOCS and "<<" in command.rest and parse_json_words(command.rest) is None


def _take_heredocs(lines: _Lines, text: str, allowed: bool) -> tuple[Heredoc, ...]:
    if not allowed:
        return ()
    taken = []
    for heredoc in find_heredocs(text):
        content: list[str] = []
        while True:
            if lines.at >= len(lines.raw):
                raise LanguageError(
                    "unterminated heredoc",
                    word="<<",
                    hint=f"a line that is {heredoc.name} and nothing else ends the document",
                )
            line = lines.raw[lines.at]
            lines.at += 1
            end = line.rstrip("\r\n")
            if (end.lstrip("\t") if heredoc.chomp else end) == heredoc.name:
                break
            content.append(line)
        taken.append(replace(heredoc, content="".join(content)))
    return tuple(taken)


def _end_stage(stages: list[Stage], body: list[StageInstruction]) -> None:
    if stages:
        stages[-1] = replace(stages[-1], instructions=tuple(body))
    body.clear()


def _describe(comments: tuple[str, ...], name: str) -> str:
    return next((c.removeprefix(f"{name} ") for c in comments if name and c.startswith(f"{name} ")), "")


__all__ = ["MAX_BYTES", "MAX_LINE_BYTES", "NAMES", "parse", "parse_trigger", "unknown_instruction"]
