"""What a Dockerfile says, as values: one type for each instruction, stages, and the file.

Nothing is expanded here: texts are as written, without the quotes that the syntax removes. ``code`` is an instruction's source
on one line, ``name`` its name as written.
"""

from __future__ import annotations

from typing import TypeAlias

from carboy.dockerfile.arguments import Heredoc, Pair
from carboy.dockerfile.directives import Directives
from carboy.dockerfile.errors import Source, Span
from carboy.dockerfile.value import Value


class Instruction(Value):
    """What all instructions have: ``comments`` are the lines right above, without "#"."""

    name: str
    code: str
    span: Span
    comments: tuple[str, ...] = ()


class From(Instruction):
    """``FROM [--platform=...] image [AS stage]``.

    ``stage`` is in lower case, ``written_as`` and ``written_stage`` as they stand.
    """

    image: str
    stage: str = ""
    platform: str = ""
    written_as: str = ""
    written_stage: str = ""


class ArgValue(Value):
    """One name of ARG; ``default`` None when there is none. ``description`` is its comment above ("# NAME text")."""

    name: str
    default: str | None = None
    description: str = ""


class Arg(Instruction):
    """``ARG name[=default] ...``."""

    args: tuple[ArgValue, ...]


class CommandLine(Instruction):
    """A command: ``words`` of the JSON form, or one text for the shell (``shell``), with the heredocs after it."""

    words: tuple[str, ...]
    shell: bool
    heredocs: tuple[Heredoc, ...] = ()


class Run(CommandLine):
    """``RUN``; ``mounts`` are the flags' values, which ``instructions.mounts`` reads once variables are known."""

    mounts: tuple[str, ...] = ()
    network: str = "default"
    security: str = "sandbox"


class Cmd(CommandLine):
    """``CMD``; without words it clears what the base says."""


class Entrypoint(CommandLine):
    """``ENTRYPOINT``; without words it clears what the base says."""


class Shell(Instruction):
    """``SHELL ["executable", "parameters"]``."""

    words: tuple[str, ...]


class Env(Instruction):
    """``ENV key=value ...``."""

    pairs: tuple[Pair, ...]


class Label(Instruction):
    """``LABEL key=value ...``."""

    pairs: tuple[Pair, ...]


class InlineSource(Value):
    """A heredoc of COPY or ADD: a file ``name`` with ``content``, whose variables are put in when ``expand``."""

    name: str
    content: str
    expand: bool = True


class Transfer(Instruction):
    """What COPY and ADD have in common."""

    sources: tuple[str, ...]
    inline: tuple[InlineSource, ...]
    destination: str
    chown: str = ""
    chmod: str = ""
    link: bool = False
    exclude: tuple[str, ...] = ()


class Copy(Transfer):
    """``COPY``; ``source`` is --from's stage, index, context or image ("": the build's context)."""

    source: str = ""
    parents: bool = False


class Add(Transfer):
    """``ADD``; ``keep_git_dir`` and ``unpack`` are None where they are not given."""

    checksum: str = ""
    keep_git_dir: bool | None = None
    unpack: bool | None = None


class Expose(Instruction):
    """``EXPOSE``; the words are sorted, as they are before variables are put in (trap 55)."""

    ports: tuple[str, ...]


class Volume(Instruction):
    """``VOLUME``."""

    paths: tuple[str, ...]


class User(Instruction):
    """``USER``."""

    user: str


class Workdir(Instruction):
    """``WORKDIR``."""

    path: str


class StopSignal(Instruction):
    """``STOPSIGNAL``."""

    signal: str


class Healthcheck(Instruction):
    """``HEALTHCHECK``; ``test`` begins with NONE, CMD or CMD-SHELL, durations are nanoseconds, 0 the default."""

    test: tuple[str, ...]
    interval_ns: int = 0
    timeout_ns: int = 0
    start_period_ns: int = 0
    start_interval_ns: int = 0
    retries: int = 0


class Onbuild(Instruction):
    """``ONBUILD``; ``trigger`` is the text that a build on the image reads, heredocs included."""

    trigger: str


class Maintainer(Instruction):
    """``MAINTAINER``, which LABEL replaced."""

    author: str


StageInstruction: TypeAlias = (
    Arg | Run | Cmd | Entrypoint | Shell | Env | Label | Copy | Add | Expose | Volume | User | Workdir | StopSignal | Healthcheck
    | Onbuild | Maintainer
)  # fmt: skip


class Stage(Value):
    """A FROM with what follows it; ``description`` is its comment above ("# name text")."""

    index: int
    start: From
    instructions: tuple[StageInstruction, ...]
    description: str = ""

    @property
    def name(self) -> str:
        """The name in lower case, "" without one."""
        return self.start.stage


class Dockerfile(Value):
    """A file that was read: ``global_args`` stand before the first FROM.

    ``empty_continuations`` are spans with blank lines in them.
    """

    source: Source
    directives: Directives
    global_args: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    empty_continuations: tuple[Span, ...] = ()
