"""What a stage is at one place: its files, its configuration, its variables, and what people are told of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from carboy.base.credentials import redact
from carboy.build.dockerfile.given import BuildInput
from carboy.build.dockerfile.settings import split_env
from carboy.build.graph.ops import BaseImage, HistoryLine, Location, State
from carboy.dockerfile.errors import LanguageError, Source, Span
from carboy.dockerfile.instructions.model import Add, Copy, Onbuild, Run, StageInstruction, Workdir
from carboy.dockerfile.scope import DEFAULT_PATH, StageScope
from carboy.dockerfile.words import process
from carboy.oci.config import RunConfig
from carboy.oci.platform import Platform

_COUNTED = (Add, Copy, Run, Workdir)


@dataclass(slots=True, kw_only=True)
class StageState:
    """A stage on its way: changed by its instructions, one after the other.

    ``title`` is what people see ("" when it is the only one). ``total`` counts its steps, ``step`` those that have a title.
    ``cmd_set`` when a CMD stood in this very stage (trap 23).
    """

    title: str
    source: Source
    given: BuildInput
    state: State
    config: RunConfig
    scope: StageScope
    platform: Platform
    author: str = ""
    no_cache: bool = False
    history: list[HistoryLine] = field(default_factory=list)
    cmd_set: bool = False
    step: int = 0
    total: int = 0

    @property
    def folder(self) -> str:
        """The working directory."""
        return self.config.WorkingDir or "/"

    def location(self, span: Span) -> Location:
        """Return where an instruction stands."""
        return Location(
            file=self.source.file, first_line=span.first, last_line=span.last, text=redact(self.source.text(span))
        )

    def next_title(self, text: str, *, trigger: bool = False) -> str:
        """Return "[stage N/M] TEXT" for the next step."""
        self.step += 1
        return step_title(self.title, self.step, self.total, f"ONBUILD {text}" if trigger else text)

    def describe(self, code: str, *, masked: Mapping[str, str] | None = None, run: bool = False) -> str:
        """Return an instruction's text for people, its variables put in where that goes; ``masked`` are secrets."""
        env = {**self.scope.env, **masked} if masked else self.scope.env
        try:
            text = process(code, env, escape=self.scope.escape, raw_quotes=run, keep_unset=run).text
        except LanguageError:
            text = code
        name, blank, rest = text.partition(" ")
        return name.upper() + blank + redact(rest)

    def change(self, state: State, created_by: str) -> None:
        """Let an operation be the newest state, with its line of history."""
        self.state = state
        self.history.append(HistoryLine(created_by=created_by, state=state))

    def note(self, created_by: str) -> None:
        """Add a line of history without a layer."""
        self.history.append(HistoryLine(created_by=created_by))

    def run_env(self) -> tuple[str, ...]:
        """Return the environment of commands."""
        return tuple(f"{name}={value}" for name, value in self.scope.env.items())


def count_steps(instructions: tuple[StageInstruction, ...], *, pulls: bool) -> int:
    """Return how many titles a stage has: those of what makes layers, and one for a FROM that is an image."""
    return sum(isinstance(instruction, _COUNTED) for instruction in instructions) + pulls


def image_config(image: BaseImage | None) -> tuple[RunConfig, tuple[str, ...]]:
    """Return what a stage inherits from an image (None: scratch), and its triggers; PATH is always there (trap 59)."""
    config = RunConfig(WorkingDir="/") if image is None else image.config
    env = split_env(config.Env)
    if "PATH" not in env:
        config = msgspec.structs.replace(config, Env=[*(config.Env or ()), f"PATH={DEFAULT_PATH}"])
    triggers = tuple(config.OnBuild or ())
    if config.OnBuild is not None:
        config = msgspec.structs.replace(config, OnBuild=None)
    return config, triggers


def step_title(stage: str, number: int, total: int, text: str) -> str:
    """Return "[stage N/M] TEXT", without the stage's name where there is only one."""
    width = int(1 + math.log10(max(total, 1)))
    return f"[{stage + ' ' if stage else ''}{number:>{width}}/{total}] {text}"


def list_triggers(instructions: tuple[StageInstruction, ...]) -> list[str]:
    """Return the triggers that a stage sets for those that begin with it."""
    return [instruction.trigger for instruction in instructions if isinstance(instruction, Onbuild)]
