"""The build checks: what BuildKit warns of, in its words.

Source: dockerfile2llb/{convert,validations}.go, linter/ruleset.go.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from carboy.dockerfile.errors import DockerfileError, LanguageError, Span
from carboy.dockerfile.gotext import quote
from carboy.dockerfile.ignore import Ignore
from carboy.dockerfile.instructions.model import (
    Add,
    Arg,
    Cmd,
    Copy,
    Dockerfile,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    Onbuild,
    Run,
    Shell,
    Stage,
    StageInstruction,
    Workdir,
)  # fmt: skip
from carboy.dockerfile.instructions.mounts import parse_mount
from carboy.dockerfile.instructions.ports import parse_exposed
from carboy.dockerfile.parser import parse_trigger
from carboy.dockerfile.rules import CheckOptions, CheckWarning, parse_check_options
from carboy.dockerfile.scope import (
    DEFAULT_PATH,
    NOT_ENVIRONMENT,
    Globals,
    PlatformNames,
    StageScope,
    predefined_args,
    resolve_globals,
)
from carboy.dockerfile.stages import SCRATCH, BoundStages, bind_stages, expand_start, find_reachable, list_dependencies
from carboy.dockerfile.suggest import find_nearest
from carboy.dockerfile.words import Processed, process

_SECRET = re.compile(
    r"(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.IGNORECASE
)
_NO_SECRET = re.compile(r"(?:_|^)(?:public|file|version)(?:_|$)", re.IGNORECASE)
_RESERVED = frozenset({"context", SCRATCH})
_IMAGE = re.compile(
    r"(?:[\w.-]+(?::\d+)?/)?[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*)*"
    r"(?::[\w][\w.-]{0,127})?(?:@[a-z0-9]+:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseFacts:
    """What checks know of a base image: its environment, whether it has a SHELL of its own, its platform, its triggers."""

    env: Mapping[str, str] = field(default_factory=dict)
    shell: bool = False
    platform: PlatformNames | None = None
    triggers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInput:
    """What the checks look at besides the file. ``base`` is asked for images; None is one that nobody knows.

    Of such an image the environment counts as empty but for PATH. ``target`` "" is all stages.
    """

    platform: PlatformNames
    build_args: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    contexts: frozenset[str] = frozenset()
    base: Callable[[str], BaseFacts | None] | None = None
    ignore: Ignore | None = None


def read_check_options(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> CheckOptions:
    """Return the options of BUILDKIT_DOCKERFILE_CHECK, else of ``# check=``. Raises ``DockerfileError``."""
    text = build_args.get("BUILDKIT_DOCKERFILE_CHECK", dockerfile.directives.check)
    try:
        return parse_check_options(text)
    except LanguageError as wrong:
        raise dockerfile.source.error(wrong, Span(1, min(3, len(dockerfile.source.lines)))) from wrong


def check(dockerfile: Dockerfile, given: CheckInput, *, options: CheckOptions | None = None) -> list[CheckWarning]:
    """Return what the checks find, in the order of lines. Raises ``DockerfileError`` for what no build could use."""
    if options is None:
        options = read_check_options(dockerfile, given.build_args)
    checker = _Checker(dockerfile=dockerfile, given=given, options=options)
    checker.run()
    found = dict.fromkeys(checker.found)
    return sorted(found, key=lambda warning: (warning.span.first, warning.rule))


@dataclass(slots=True, kw_only=True)
class _StageView:
    """What the checks know at one place of a stage."""

    scope: StageScope
    image_env: dict[str, str]
    shell: bool
    triggers: list[str]
    workdir_set: bool = False
    once: dict[type, Span] = field(default_factory=dict)


@dataclass(slots=True, kw_only=True)
class _Checker:
    dockerfile: Dockerfile
    given: CheckInput
    options: CheckOptions
    found: list[CheckWarning] = field(default_factory=list)

    def warn(self, rule: str, message: str, at: Instruction, *, span: Span | None = None) -> None:
        if self.options.with_comments(at.comments).wants(rule):
            file = self.dockerfile.source.file
            self.found.append(CheckWarning(rule=rule, message=message, span=span or at.span, file=file))

    def run(self) -> None:
        self.check_form()
        stage = self.dockerfile.stages[-1].name if not self.given.target else self.given.target
        predefined = predefined_args(
            build=self.given.platform, target=self.given.platform, stage=stage, build_args=self.given.build_args
        )
        self.check_default_images(predefined)
        known = resolve_globals(self.dockerfile, predefined=predefined, build_args=self.given.build_args)
        for item in self.dockerfile.stages:
            self.check_start(item, known)
        bound = bind_stages(self.dockerfile, known, contexts=self.given.contexts)
        wanted: Iterable[int] = range(len(bound.stages))
        if self.given.target:
            wanted = sorted(find_reachable(bound.find_target(self.given.target), list_dependencies(bound)))
        views: dict[int, _StageView] = {}
        for index in wanted:
            if bound.stages[index].stage.name not in self.given.contexts or not bound.stages[index].stage.name:
                views[index] = self.check_stage(bound, index, known, views)

    # --- what the text alone says ---

    def check_form(self) -> None:
        everything = [i for stage in self.dockerfile.stages for i in (stage.start, *stage.instructions)]
        for span in self.dockerfile.empty_continuations:
            at = next(
                (i for i in (*self.dockerfile.global_args, *everything) if i.span.first == span.first), everything[0]
            )
            self.warn("NoEmptyContinuation", "Empty continuation line", at, span=span)
        self.check_casing(everything)
        names: set[str] = set()
        for stage in self.dockerfile.stages:
            self.check_name(stage, names)
        for instruction in (*self.dockerfile.global_args, *everything):
            if isinstance(instruction, Maintainer):
                message = "Maintainer instruction is deprecated in favor of using label"
                self.warn("MaintainerDeprecated", message, instruction)
            elif isinstance(instruction, Arg):
                self.check_description("ARG", [arg.name for arg in instruction.args], instruction)

    def check_casing(self, everything: Sequence[Instruction]) -> None:
        counts = Counter(
            "lower" if i.name.islower() else "upper" for i in everything if i.name in {i.name.lower(), i.name.upper()}
        )
        lower = counts["lower"] > counts["upper"]
        for instruction in everything:
            name = instruction.name
            if name != (name.lower() if lower else name.upper()):
                casing = "lowercase" if lower else "uppercase"
                message = f"Command '{name}' should match the case of the command majority ({casing})"
                self.warn("ConsistentInstructionCasing", message, instruction)

    def check_name(self, stage: Stage, names: set[str]) -> None:
        start = stage.start
        if start.written_stage != start.stage:
            self.warn("StageNameCasing", f"Stage name '{start.written_stage}' should be lowercase", start)
        if start.written_as and start.name in {start.name.lower(), start.name.upper()}:
            expected = start.written_as.lower() if start.name == start.name.lower() else start.written_as.upper()
            if start.written_as != expected:
                message = f"'{start.written_as}' and '{start.name}' keywords' casing do not match"
                self.warn("FromAsCasing", message, start)
        if not stage.name:
            return
        self.check_description("FROM", [start.written_stage, start.stage], start)
        if stage.name in _RESERVED:
            message = f"Stage name should not use the same name as reserved stage {quote(stage.name)}"
            self.warn("ReservedStageName", message, start)
        if stage.name in names:
            message = f"Duplicate stage name {quote(stage.name)}, stage names should be unique"
            self.warn("DuplicateStageName", message, start)
        names.add(stage.name)

    def check_description(self, what: str, names: list[str], at: Instruction) -> None:
        comments = [c for c in at.comments if not c.lower().startswith("check=")]
        if comments and comments[-1].split(" ")[0] not in names:
            example = names[-1] if len(set(names)) == 1 or what == "FROM" else "<arg_key>"
            message = f"Comment for {what} should follow the format: `# {example} <description>`"
            self.warn("InvalidDefinitionDescription", message, at)

    # --- FROM ---

    def check_default_images(self, predefined: Mapping[str, str]) -> None:
        try:
            known = resolve_globals(self.dockerfile, predefined=predefined, build_args={})
            images = [
                process(s.start.image, known.values, escape=self.dockerfile.directives.escape)
                for s in self.dockerfile.stages
            ]
        except (LanguageError, DockerfileError):
            return
        for stage, image in zip(self.dockerfile.stages, images, strict=True):
            if not _IMAGE.fullmatch(image.text):
                message = f"Default value for ARG {stage.start.image} results in empty or invalid base image name"
                self.warn("InvalidDefaultArgInFrom", message, stage.start)

    def check_start(self, stage: Stage, known: Globals) -> None:
        try:
            image, platform = expand_start(stage, known, escape=self.dockerfile.directives.escape)
        except LanguageError as wrong:
            raise self.dockerfile.source.error(wrong, stage.start.span) from wrong
        names = [*known.values, *known.declared]
        for name in sorted((image.unmatched | platform.unmatched) - known.declared):
            nearest = find_nearest(name, names)
            guess = f" (did you mean {nearest}?)" if nearest else ""
            self.warn("UndefinedArgInFrom", f"FROM argument '{name}' is not declared{guess}", stage.start)
        self.check_platform(stage, platform, known)

    def check_platform(self, stage: Stage, platform: Processed, known: Globals) -> None:
        written = stage.start.platform
        if not written:
            return
        if platform.matched == {"TARGETPLATFORM"} and not platform.unmatched:
            if platform.text == known.values.get("TARGETPLATFORM"):
                message = (
                    f"Setting platform to predefined {written} in FROM is redundant as this is the default behavior"
                )
                self.warn("RedundantTargetPlatform", message, stage.start)
        elif not platform.matched and not platform.unmatched:
            parts = platform.text.split("/")
            if not any(part and part in stage.name for part in parts[:2]):
                message = f"FROM --platform flag should not use constant value {quote(platform.text)}"
                self.warn("FromPlatformFlagConstDisallowed", message, stage.start)

    # --- what stands in a stage ---

    def check_stage(self, bound: BoundStages, index: int, known: Globals, views: dict[int, _StageView]) -> _StageView:
        item = bound.stages[index]
        base = views.get(item.base) if item.base is not None else None
        if base is not None:
            view = _StageView(
                scope=base.scope.child(base.image_env),
                image_env=dict(base.image_env),
                shell=base.shell,
                triggers=[],
                workdir_set=base.workdir_set,
            )
            pending = list(base.triggers)
        else:
            view, pending = self.view_of_image(item.image, item.stage, known)
        source = self.dockerfile.source
        triggered = [parse_trigger(trigger, source=source, span=item.stage.start.span) for trigger in pending]
        for instruction in (*triggered, *item.stage.instructions):
            try:
                self.check_instruction(instruction, view)
            except LanguageError as wrong:
                raise source.error(wrong, instruction.span) from wrong
        return view

    def view_of_image(self, image: str, stage: Stage, known: Globals) -> tuple[_StageView, list[str]]:
        facts = None
        if image != SCRATCH and image not in self.given.contexts and self.given.base is not None:
            facts = self.given.base(image)
        facts = facts or BaseFacts()
        expected = self.given.platform
        if facts.platform is not None and not stage.start.platform:
            have = facts.platform
            if (have.os, have.architecture) != (expected.os, expected.architecture):
                seen, wanted = quote(have.text), quote(expected.text)
                message = f"Base image {image} was pulled with platform {seen}, expected {wanted} for current build"
                self.warn("InvalidBaseImagePlatform", message, stage.start)
        env = {"PATH": DEFAULT_PATH, **facts.env}
        scope = StageScope(
            escape=self.dockerfile.directives.escape, globals=known, build_args=self.given.build_args, env=dict(env)
        )
        return _StageView(scope=scope, image_env=env, shell=facts.shell, triggers=[]), list(facts.triggers)

    def check_instruction(self, instruction: StageInstruction, view: _StageView) -> None:
        def unmatched(names: frozenset[str]) -> None:
            self.check_variables(names, instruction, view)

        if isinstance(instruction, Arg):
            for arg in instruction.args:
                self.check_secret("ARG", arg.name, instruction)
            view.scope.declare(instruction, unmatched=unmatched)
            return
        expanded = view.scope.expand(instruction, unmatched=unmatched)
        if isinstance(expanded, Env | Label):
            self.check_pairs(expanded, view)
        elif isinstance(expanded, Cmd | Entrypoint | Healthcheck):
            self.check_once(expanded, view)
        elif isinstance(expanded, Expose):
            self.check_ports(expanded)
        elif isinstance(expanded, Copy | Add):
            self.check_sources(expanded)
        elif isinstance(expanded, Workdir):
            self.check_workdir(expanded, view)
        elif isinstance(expanded, Run):
            for mount in expanded.mounts:
                parse_mount(mount, lambda text: view.scope.word(text, unmatched=unmatched))
        elif isinstance(expanded, Onbuild):
            view.triggers.append(expanded.trigger)
        elif isinstance(expanded, Shell):
            view.shell = True

    def check_workdir(self, instruction: Workdir, view: _StageView) -> None:
        if not view.workdir_set and not instruction.path.startswith("/"):
            message = (
                f"Relative workdir {quote(instruction.path)} can have unexpected results if the base image changes"
            )
            self.warn("WorkdirRelativePath", message, instruction)
        view.workdir_set = True

    def check_variables(self, names: frozenset[str], at: Instruction, view: _StageView) -> None:
        for name in sorted(names - view.scope.args.keys() - NOT_ENVIRONMENT):
            nearest = find_nearest(name, view.scope.env)
            guess = f" (did you mean ${nearest}?)" if nearest else ""
            self.warn("UndefinedVar", f"Usage of undefined variable '${name}'{guess}", at)

    def check_secret(self, what: str, name: str, at: Instruction) -> None:
        if _SECRET.search(name) and not _NO_SECRET.search(name):
            message = f"Do not use ARG or ENV instructions for sensitive data ({what} {quote(name)})"
            self.warn("SecretsUsedInArgOrEnv", message, at)

    def check_pairs(self, instruction: Env | Label, view: _StageView) -> None:
        word = instruction.name.upper()
        for pair in instruction.pairs:
            if pair.legacy:
                message = f'"{word} key=value" should be used instead of legacy "{word} key value" format'
                self.warn("LegacyKeyValueFormat", message, instruction)
            if isinstance(instruction, Env):
                self.check_secret("ENV", pair.key, instruction)
                view.image_env[pair.key] = pair.value
        if isinstance(instruction, Env):
            view.scope.set(instruction)

    def check_once(self, instruction: Cmd | Entrypoint | Healthcheck, view: _StageView) -> None:
        """Warn at the earlier of two: it is the one without effect."""
        kind = type(instruction)
        if kind in view.once:
            message = (
                f"Multiple {instruction.name.upper()} instructions should not be used in the same stage because only the last one"
                " will be used"
            )
            self.warn("MultipleInstructionsDisallowed", message, instruction, span=view.once[kind])
        view.once[kind] = instruction.span
        if isinstance(instruction, Cmd | Entrypoint) and instruction.shell and not view.shell:
            word = instruction.name.upper()
            message = f"JSON arguments recommended for {word} to prevent unintended behavior related to OS signals"
            self.warn("JSONArgsRecommended", message, instruction)

    def check_ports(self, instruction: Expose) -> None:
        for word in instruction.ports:
            exposed = parse_exposed(word)
            if exposed.protocol != exposed.protocol.lower():
                message = f"Defined protocol '{word}' in EXPOSE instruction should be lowercase"
                self.warn("ExposeProtoCasing", message, instruction)
            if exposed.published:
                message = f"EXPOSE instruction should not define an IP address or host-port mapping, found '{word}'"
                self.warn("ExposeInvalidFormat", message, instruction)

    def check_sources(self, instruction: Copy | Add) -> None:
        """Warn of sources that .dockerignore leaves out; a file with exceptions is not looked at, as BuildKit does not."""
        ignore = self.given.ignore
        if ignore is None or ignore.has_exceptions or (isinstance(instruction, Copy) and instruction.source):
            return
        for source in instruction.sources:
            if "://" in source or source.startswith("git@"):
                continue
            path = posixpath.normpath(source)
            if path in {".", "/"}:
                left_out = any(pattern in {"*", "**", "**/*"} for pattern in ignore.patterns)
            else:
                left_out = ignore.matches(path.lstrip("/"))
            if left_out:
                what = "Copy" if isinstance(instruction, Copy) else "Add"
                message = f"Attempting to {what} file {quote(path)} that is excluded by .dockerignore"
                self.warn("CopyIgnoredFile", message, instruction)
