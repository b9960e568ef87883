"""Which variables are in effect where: ARG before the first FROM, ARG and ENV of stages, and those that are always there.

Source: moby/buildkit, dockerfile2llb/convert.go (buildMetaArgs, dispatchArg, dispatchEnv) and platform.go (defaultArgs).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.expand import expand
from carboy.dockerfile.instructions.model import Arg, Dockerfile, Env, StageInstruction
from carboy.dockerfile.value import Value
from carboy.dockerfile.words import Processed, process

DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Given to RUN without an ARG, in whatever case they are written; part of neither key nor history then.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY")
# Declared, but no environment of commands.
NOT_ENVIRONMENT = frozenset({"BUILDKIT_SBOM_SCAN_CONTEXT", "BUILDKIT_SBOM_SCAN_STAGE"})

Unmatched = Callable[[frozenset[str]], None]


class PlatformNames(Value):
    """A platform's parts as ARGs have them."""

    os: str = "linux"
    architecture: str
    variant: str = ""
    os_version: str = ""

    @property
    def text(self) -> str:
        """The parts with "/" between them, as --platform takes them."""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class Globals(Value):
    """The variables of FROM: ``values`` by name, ``declared`` those of the file."""

    values: Mapping[str, str]
    declared: frozenset[str] = frozenset()


def predefined_args(
    *, build: PlatformNames, target: PlatformNames, stage: str, build_args: Mapping[str, str]
) -> dict[str, str]:
    """Return the ARGs that every file has; each may be given by ``build_args``.

    ``stage`` is the target's name ("": default).
    """
    values = {"TARGETSTAGE": stage or "default"}
    for prefix, platform in (("BUILD", build), ("TARGET", target)):
        values |= {
            f"{prefix}PLATFORM": platform.text,
            f"{prefix}OS": platform.os,
            f"{prefix}OSVERSION": platform.os_version,
            f"{prefix}ARCH": platform.architecture,
            f"{prefix}VARIANT": platform.variant,
        }
    return {name: build_args.get(name, value) for name, value in values.items()}


def resolve_globals(dockerfile: Dockerfile, *, predefined: Mapping[str, str], build_args: Mapping[str, str]) -> Globals:
    """Return the variables of FROM: each ARG sees those before it (trap 9). Raises ``DockerfileError``."""
    values = dict(predefined)
    declared: set[str] = set()
    for instruction in dockerfile.global_args:
        for arg in instruction.args:
            declared.add(arg.name)
            if arg.name in build_args:
                values[arg.name] = build_args[arg.name]
            elif arg.default is not None:
                try:
                    values[arg.name] = process(arg.default, values, escape=dockerfile.directives.escape).text
                except LanguageError as wrong:
                    raise dockerfile.source.error(wrong, instruction.span) from wrong
    return Globals(values=values, declared=frozenset(declared))


@dataclass(slots=True, kw_only=True)
class StageScope:
    """The variables of a stage, as its instructions change them.

    ``env`` is what commands and expansions see: the image's environment, then ARG and ENV as they come (trap 10). ``args`` are
    the ARGs by name, with their values (None: none), in order; inherited ones come first.
    """

    escape: str
    globals: Globals
    build_args: Mapping[str, str]
    env: dict[str, str]
    args: dict[str, str | None] = field(default_factory=dict)

    def child(self, image_env: Mapping[str, str]) -> StageScope:
        """Return the scope of a stage FROM this one: ARGs go on, but what ``image_env`` sets counts again."""
        env = {**self.env, **image_env}
        return StageScope(
            escape=self.escape, globals=self.globals, build_args=self.build_args, env=env, args=dict(self.args)
        )

    def expand(self, instruction: StageInstruction, *, unmatched: Unmatched | None = None) -> StageInstruction:
        """Return an instruction with the variables of this place put in; ``unmatched`` gets the names that are not set."""

        def word(text: str) -> Processed:
            return _told(process(text, self.env, escape=self.escape), unmatched)

        def document(text: str) -> Processed:
            return _told(process(text, self.env, skip_quotes=True), unmatched)

        return expand(instruction, word, document=document)

    def word(self, text: str, *, unmatched: Unmatched | None = None) -> str:
        """Return a word with the variables of this place put in."""
        return _told(process(text, self.env, escape=self.escape), unmatched).text

    def declare(self, instruction: Arg, *, unmatched: Unmatched | None = None) -> list[tuple[str, str | None]]:
        """Let an ARG take effect and return its names with their values: build-arg, else default, else the global one."""
        made: list[tuple[str, str | None]] = []
        for arg in instruction.args:
            value: str | None
            if arg.name in self.build_args:
                value = self.build_args[arg.name]  # a default that cannot be expanded is no error then (trap 13)
            elif arg.default is not None:
                value = self.word(arg.default, unmatched=unmatched)
            else:
                value = self.globals.values.get(arg.name)
            if value is not None and arg.name not in NOT_ENVIRONMENT:
                self.env[arg.name] = value
            self.args[arg.name] = value
            made.append((arg.name, value))
        return made

    def set(self, instruction: Env) -> None:
        """Let an ENV that was expanded take effect."""
        for pair in instruction.pairs:
            self.env[pair.key] = pair.value


def _told(processed: Processed, unmatched: Unmatched | None) -> Processed:
    if unmatched is not None and processed.unmatched:
        unmatched(processed.unmatched)
    return processed


def list_proxies(build_args: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the proxies of ``build_args`` in both cases, as commands see them, in the order of :data:`PROXIES`."""
    given: dict[str, str] = {}
    for name in sorted(build_args):
        if name.upper() in PROXIES:
            given[name.upper()] = build_args[name]
    return [(spelled, given[name]) for name in PROXIES if name in given for spelled in (name, name.lower())]
