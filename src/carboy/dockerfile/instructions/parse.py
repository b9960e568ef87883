"""An instruction's line to its type. Source: moby/buildkit, frontend/dockerfile/instructions/parse.go."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypedDict

from carboy.dockerfile.arguments import (
    Command,
    Heredoc,
    Pair,
    parse_heredoc,
    parse_json_words,
    split_blanks,
    split_command,
    split_pairs,
    split_words,
)  # fmt: skip
from carboy.dockerfile.errors import LanguageError, Span
from carboy.dockerfile.gotext import parse_duration_ns
from carboy.dockerfile.instructions.flags import Flags
from carboy.dockerfile.instructions.model import (
    Add,
    Arg,
    ArgValue,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    From,
    Healthcheck,
    InlineSource,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    StageInstruction,
    StopSignal,
    User,
    Volume,
    Workdir,
)  # fmt: skip
from carboy.dockerfile.instructions.mounts import parse_mount_origin
from carboy.dockerfile.suggest import did_you_mean
from carboy.dockerfile.value import Value

_STAGE_NAME = re.compile(r"[a-z][a-z0-9\-_.]*", re.ASCII)
_NETWORKS = ("default", "none", "host")
_SECURITIES = ("sandbox", "insecure")
_SHORTEST_NS = 10**6
_MAX_INT32 = 2**31 - 1


class ParsedLine(Value):
    """An instruction's line, split: ``code`` is all of it, ``heredocs`` what follows it."""

    command: Command
    code: str
    span: Span
    comments: tuple[str, ...]
    heredocs: tuple[Heredoc, ...]
    escape: str


class _Base(TypedDict):
    """What every instruction has."""

    name: str
    code: str
    span: Span
    comments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """What the functions below see of a line: its instruction in upper case, flags, and the rest."""

    parsed: ParsedLine
    word: str
    flags: Flags

    @property
    def rest(self) -> str:
        return self.parsed.command.rest

    @property
    def base(self) -> _Base:
        """What every instruction has."""
        parsed = self.parsed
        return {
            "name": parsed.command.name, "code": parsed.code, "span": parsed.span, "comments": parsed.comments,
        }  # fmt: skip

    def whole(self) -> str:
        """Return the rest, which must be there."""
        if not self.rest:
            raise LanguageError(f"{self.word} requires exactly one argument", hint=f"write it after {self.word}")
        return self.rest


def parse_instruction(parsed: ParsedLine) -> From | StageInstruction:
    """Return the instruction of a line. Raises ``LanguageError``."""
    word = parsed.command.name.upper()
    reader = _READERS.get(word)
    if reader is None:
        raise unknown_instruction(parsed.command.name)
    # HEALTHCHECK NONE never looks at its flags.
    bare = word == "HEALTHCHECK" and parsed.command.rest.upper() == "NONE"
    return reader(_Line(parsed, word, Flags(() if bare else parsed.command.flags, word)))


def unknown_instruction(name: str) -> LanguageError:
    """Return the error for a line that begins with no instruction, with the nearest one."""
    guess = did_you_mean(name.upper(), NAMES)
    return LanguageError(
        f"unknown instruction: {name}{guess}",
        word=name,
        hint="" if guess else f"one of these is expected: {', '.join(NAMES)}",
    )


def _read_from(line: _Line) -> From:
    words = split_blanks(line.rest)
    written_as = written_stage = ""
    if len(words) == 3 and words[1].lower() == "as":
        _, written_as, written_stage = words
        if not _STAGE_NAME.fullmatch(written_stage.lower()):
            raise LanguageError(
                f'invalid name for build stage: "{written_stage}", name can\'t start with a number or contain symbols',
                word=written_stage,
                hint="letters first, then letters, digits, -, _ and .",
            )
    elif len(words) != 1:
        raise LanguageError(
            "FROM requires either one or three arguments",
            word=words[1] if len(words) > 1 else "",
            hint="write FROM image, or FROM image AS name",
        )
    return From(
        **line.base,
        image=words[0],
        stage=written_stage.lower(),
        platform=line.flags.text("platform"),
        written_as=written_as,
        written_stage=written_stage,
    )


def _read_arg(line: _Line) -> Arg:
    words = split_words(line.rest, escape=line.parsed.escape)
    if not words:
        raise LanguageError("ARG requires at least one argument", hint="write ARG name, or ARG name=default")
    args = []
    for word in words:
        name, equals, default = word.partition("=")
        if not name:
            raise LanguageError("ARG names can not be blank", word=word)
        comments = line.parsed.comments
        description = next((c.removeprefix(f"{name} ") for c in comments if c.startswith(f"{name} ")), "")
        args.append(ArgValue(name=name, default=default if equals else None, description=description))
    return Arg(**line.base, args=tuple(args))


def _command_words(line: _Line) -> tuple[tuple[str, ...], bool]:
    """Return (words, whether they are one text for the shell)."""
    words = parse_json_words(line.rest)
    if words is not None:
        return words, False
    return ((line.rest,) if line.rest else ()), True


def _read_run(line: _Line) -> Run:
    words, shell = _command_words(line)
    network, security = line.flags.text("network") or "default", line.flags.text("security") or "sandbox"
    if network not in _NETWORKS:
        raise LanguageError(
            f'unsupported network mode: "{network}"',
            word=f"--network={network}",
            hint=f"there are {', '.join(_NETWORKS)}",
        )
    if security not in _SECURITIES:
        raise LanguageError(
            f'security "{security}" is not valid',
            word=f"--security={security}",
            hint=f"there are {', '.join(_SECURITIES)}",
        )
    mounts = line.flags.texts("mount")
    for mount in mounts:
        parse_mount_origin(mount)
    if not words:
        raise LanguageError("RUN requires at least one argument", hint="write the command after it")
    return Run(
        **line.base,
        words=words,
        shell=shell,
        heredocs=line.parsed.heredocs,
        mounts=mounts,
        network=network,
        security=security,
    )


def _read_cmd(line: _Line) -> Cmd:
    words, shell = _command_words(line)
    return Cmd(**line.base, words=words, shell=shell)


def _read_entrypoint(line: _Line) -> Entrypoint:
    words, shell = _command_words(line)
    return Entrypoint(**line.base, words=words, shell=shell)


def _read_shell(line: _Line) -> Shell:
    words = parse_json_words(line.rest)
    if words is None and line.rest:
        raise LanguageError(
            "SHELL requires the arguments to be in JSON form", word=line.rest, hint='write SHELL ["/bin/bash", "-c"]'
        )
    if not words:
        raise LanguageError("SHELL requires at least one argument", hint='write SHELL ["/bin/bash", "-c"]')
    return Shell(**line.base, words=words)


def _pairs(line: _Line) -> tuple[Pair, ...]:
    pairs = split_pairs(line.rest, line.word, escape=line.parsed.escape)
    if not pairs:
        raise LanguageError(f"{line.word} requires at least one argument", hint=f"write {line.word} name=value")
    for pair in pairs:
        if not pair.key:
            raise LanguageError(f"{line.word} names can not be blank", word=f"={pair.value}")
    return pairs


def _read_env(line: _Line) -> Env:
    return Env(**line.base, pairs=_pairs(line))


def _read_label(line: _Line) -> Label:
    return Label(**line.base, pairs=_pairs(line))


class _Transfer(TypedDict):
    """What COPY and ADD have in common."""

    sources: tuple[str, ...]
    inline: tuple[InlineSource, ...]
    destination: str
    chown: str
    chmod: str
    link: bool
    exclude: tuple[str, ...]


def _transfer(line: _Line) -> _Transfer:
    words = parse_json_words(line.rest)
    if words is None:
        words = split_blanks(line.rest)
    if len(words) < 2:
        raise LanguageError(
            f"{line.word} requires at least two arguments, but only one was provided. Destination could not be determined",
            word=words[0] if words else "",
            hint=f"write {line.word} source destination",
        )
    *sources, destination = words
    if parse_heredoc(destination) is not None:
        raise LanguageError(f"{line.word} cannot accept a heredoc as a destination", word=destination)
    documents = {heredoc.name: heredoc for heredoc in line.parsed.heredocs}
    paths: list[str] = []
    inline: list[InlineSource] = []
    for source in sources:
        heredoc = parse_heredoc(source)
        if heredoc is None or heredoc.name not in documents:
            paths.append(source)
            continue
        content = documents[heredoc.name].text
        inline.append(InlineSource(name=heredoc.name, content=content, expand=heredoc.expand))
    return {
        "sources": tuple(paths),
        "inline": tuple(inline),
        "destination": destination,
        "chown": line.flags.text("chown"),
        "chmod": line.flags.text("chmod"),
        "link": bool(line.flags.switch("link")),
        "exclude": line.flags.texts("exclude"),
    }


def _read_copy(line: _Line) -> Copy:
    parents = bool(line.flags.switch("parents"))
    return Copy(**line.base, **_transfer(line), source=line.flags.text("from"), parents=parents)


def _read_add(line: _Line) -> Add:
    return Add(
        **line.base,
        **_transfer(line),
        checksum=line.flags.text("checksum"),
        keep_git_dir=line.flags.switch("keep-git-dir"),
        unpack=line.flags.switch("unpack"),
    )


def _read_expose(line: _Line) -> Expose:
    words = split_blanks(line.rest)
    if not words:
        raise LanguageError("EXPOSE requires at least one argument", hint="write EXPOSE 8080, or EXPOSE 53/udp")
    return Expose(**line.base, ports=tuple(sorted(words)))


def _read_volume(line: _Line) -> Volume:
    words = parse_json_words(line.rest)
    if words is None:
        words = split_blanks(line.rest)
    if not words:
        raise LanguageError("VOLUME requires at least one argument", hint="write VOLUME /path")
    paths = tuple(word.strip() for word in words)
    if "" in paths:
        raise LanguageError("VOLUME specified can not be an empty string", hint="write VOLUME /path")
    return Volume(**line.base, paths=paths)


def _read_user(line: _Line) -> User:
    return User(**line.base, user=line.whole())


def _read_workdir(line: _Line) -> Workdir:
    return Workdir(**line.base, path=line.whole())


def _read_stop_signal(line: _Line) -> StopSignal:
    return StopSignal(**line.base, signal=line.whole())


def _read_maintainer(line: _Line) -> Maintainer:
    return Maintainer(**line.base, author=line.whole())


def _read_healthcheck(line: _Line) -> Healthcheck:
    kind, _, rest = line.rest.replace("\t", " ").partition(" ") if line.rest else ("", "", "")
    if not kind:
        raise LanguageError("HEALTHCHECK requires at least one argument", hint="write HEALTHCHECK CMD command, or NONE")
    rest = line.rest[len(kind) :].strip()
    if kind.upper() == "NONE":
        if rest:
            raise LanguageError("HEALTHCHECK NONE takes no arguments", word=rest)
        return Healthcheck(**line.base, test=("NONE",))
    if kind.upper() != "CMD":
        raise LanguageError(
            f'Unknown type "{kind.upper()}" in HEALTHCHECK (try CMD)',
            word=kind,
            hint="write HEALTHCHECK CMD command, or NONE",
        )
    words = parse_json_words(rest)
    shell = words is None
    if words is None:
        words = (rest,) if rest else ()
    if not words:
        raise LanguageError("Missing command after HEALTHCHECK CMD", hint="write the command after CMD")
    return Healthcheck(
        **line.base,
        test=("CMD-SHELL" if shell else "CMD", *words),
        interval_ns=_interval(line, "interval"),
        timeout_ns=_interval(line, "timeout"),
        start_period_ns=_interval(line, "start-period"),
        start_interval_ns=_interval(line, "start-interval"),
        retries=_retries(line),
    )


def _interval(line: _Line, name: str) -> int:
    text = line.flags.text(name)
    if not text:
        return 0
    try:
        value = parse_duration_ns(text)
    except ValueError as error:
        raise LanguageError(str(error), word=f"--{name}={text}", hint="write it as 30s, 1m30s or 500ms") from error
    if value != 0 and value < _SHORTEST_NS:
        raise LanguageError(
            f'Interval "{name}" cannot be less than 1ms', word=f"--{name}={text}", hint="0 is the default"
        )
    return value


def _retries(line: _Line) -> int:
    text = line.flags.text("retries")
    if not text:
        return 0
    if not re.fullmatch(r"[+-]?\d{1,10}", text, re.ASCII) or abs(int(text)) > _MAX_INT32:
        raise LanguageError(f'--retries is not a number: "{text}"', word=f"--retries={text}", hint="write it as 3")
    if int(text) < 0:
        raise LanguageError(f"--retries cannot be negative ({text})", word=f"--retries={text}")
    return int(text)


def _read_onbuild(line: _Line) -> Onbuild:
    if not line.rest:
        raise LanguageError("ONBUILD requires at least one argument", hint="write the instruction after it")
    trigger = split_command(line.rest, escape=line.parsed.escape).name.upper()
    if trigger == "ONBUILD":
        raise LanguageError("Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed", word=line.rest)
    if trigger in {"MAINTAINER", "FROM"}:
        raise LanguageError(f"{trigger} isn't allowed as an ONBUILD trigger", word=line.rest)
    text = re.sub(r"^\s*ONBUILD\s*", "", line.parsed.code, flags=re.IGNORECASE)
    for heredoc in line.parsed.heredocs:
        text += f"\n{heredoc.content}{heredoc.name}"
    return Onbuild(**line.base, trigger=text)


_READERS: dict[str, Callable[[_Line], From | StageInstruction]] = {
    "ADD": _read_add,
    "ARG": _read_arg,
    "CMD": _read_cmd,
    "COPY": _read_copy,
    "ENTRYPOINT": _read_entrypoint,
    "ENV": _read_env,
    "EXPOSE": _read_expose,
    "FROM": _read_from,
    "HEALTHCHECK": _read_healthcheck,
    "LABEL": _read_label,
    "MAINTAINER": _read_maintainer,
    "ONBUILD": _read_onbuild,
    "RUN": _read_run,
    "SHELL": _read_shell,
    "STOPSIGNAL": _read_stop_signal,
    "USER": _read_user,
    "VOLUME": _read_volume,
    "WORKDIR": _read_workdir,
}
NAMES = tuple(_READERS)
