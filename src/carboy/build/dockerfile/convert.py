"""A Dockerfile to the image of its target, as a graph of operations: only what the target needs. Pure, given a resolver of
images.

Source: moby/buildkit, dockerfile2llb/convert.go (toDispatchState).
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

import msgspec

from carboy.base.credentials import redact
from carboy.build.dockerfile.dispatch import dispatch
from carboy.build.dockerfile.given import BuildInput, NamedContext, NamedImage, platform_names
from carboy.build.dockerfile.platform import parse_platform
from carboy.build.dockerfile.settings import set_labels, split_env
from carboy.build.dockerfile.stage import StageState, count_steps, image_config, list_triggers, step_title
from carboy.build.graph import ops
from carboy.dockerfile.errors import LanguageError, Span
from carboy.dockerfile.instructions.model import Dockerfile, StageInstruction
from carboy.dockerfile.parser import parse_trigger
from carboy.dockerfile.scope import Globals, StageScope, predefined_args, resolve_globals
from carboy.dockerfile.stages import (
    SCRATCH,
    BoundStage,
    BoundStages,
    bind_stages,
    check_cycles,
    find_reachable,
    list_dependencies,
)
from carboy.dockerfile.suggest import did_you_mean
from carboy.errors import CarboyError
from carboy.oci.platform import Platform
from carboy.oci.reference import Reference

_OWN_SYNTAXES = frozenset({"docker/dockerfile", "docker/dockerfile-upstream", "dockerfile.v0"})


def convert(dockerfile: Dockerfile, given: BuildInput, *, warnings: tuple[str, ...] = ()) -> ops.Image:
    """Return the image of the target. Images are asked for only where the target needs them (trap 20).

    Raises ``CarboyError``, ``DockerfileError`` where the file is to blame.
    """
    bound, known = bind(dockerfile, given)
    target = bound.find_target(given.target)
    dependencies = list_dependencies(bound)
    for item in bound.stages:
        if _is_replaced(item, given):
            dependencies[item.stage.index] = {}  # its instructions mean nothing
    check_cycles(bound, dependencies)
    _check_names(bound, given)
    converter = _Converter(bound=bound, known=known, given=given, dependencies=dependencies)
    stage = converter.stage(target)
    config = set_labels(stage.config, dict(given.labels)) if given.labels else stage.config  # trap 68
    return ops.Image(
        state=stage.state,
        config=config,
        history=tuple(stage.history),
        platform=given.platform if given.platform_given else stage.platform,
        author=stage.author,
        warnings=warnings,
    )


def check_syntax(dockerfile: Dockerfile, build_args: Mapping[str, str]) -> None:
    """Refuse a file of another language: ``# syntax=`` (or BUILDKIT_SYNTAX) names an image that would read it.

    Docker's own are this language, whatever their version. Raises ``DockerfileError``.
    """
    syntax = build_args.get("BUILDKIT_SYNTAX", dockerfile.directives.syntax)
    name = syntax.partition("@")[0].removeprefix("docker.io/").partition(":")[0]
    if syntax and name not in _OWN_SYNTAXES:
        wrong = LanguageError(
            f"the file asks for the front end {syntax}, and carboy has that of Docker alone",
            word=syntax,
            hint="leave the syntax line out, or build with --build-arg BUILDKIT_SYNTAX=dockerfile.v0",
        )
        raise dockerfile.source.error(wrong, Span(1, min(3, len(dockerfile.source.lines))))


def bind(dockerfile: Dockerfile, given: BuildInput) -> tuple[BoundStages, Globals]:
    """Return the stages with what they stand on, and the variables of FROM. Raises ``DockerfileError``."""
    predefined = predefined_args(
        build=platform_names(given.build_platform),
        target=platform_names(given.platform),
        stage=given.target or dockerfile.stages[-1].name,
        build_args=given.build_args,
    )
    known = resolve_globals(dockerfile, predefined=predefined, build_args=given.build_args)
    return bind_stages(dockerfile, known, contexts=given.contexts), known


def _check_names(bound: BoundStages, given: BuildInput) -> None:
    """Refuse an image's name that cannot be one, also in stages that nobody needs (traps 17 and 20)."""
    for item in bound.stages:
        if item.base is not None or item.image == SCRATCH or _is_replaced(item, given):
            continue
        if _find_context(given, item.image) is None:
            try:
                Reference.parse(item.image)
            except CarboyError as error:
                near = did_you_mean(item.image, bound.names)
                wrong = LanguageError(
                    f'failed to parse stage name "{item.image}": {error.brief}{near}',
                    word=item.stage.start.image,
                    hint=error.hint,
                )
                raise bound.dockerfile.source.error(wrong, item.stage.start.span) from error


def _is_replaced(item: BoundStage, given: BuildInput) -> bool:
    return bool(item.stage.name) and item.stage.name in given.contexts


def _find_context(given: BuildInput, name: str, platform: Platform | None = None) -> NamedContext | None:
    """Return the named context that stands for ``name``: "name::platform" before "name", without ":latest" (trap 22)."""
    plain = name.lower().removesuffix(":latest")
    names = [plain]
    with suppress(CarboyError):
        names.append(Reference.parse(name).familiar.removesuffix(":latest"))
    keys = [*(f"{key}::{platform or given.platform}" for key in names), *names]
    return next((given.contexts[key] for key in keys if key in given.contexts), None)


@dataclass(slots=True, kw_only=True)
class _Converter:
    """Makes stages, each once, when something needs them."""

    bound: BoundStages
    known: Globals
    given: BuildInput
    dependencies: list[dict[int, StageInstruction | None]]
    made: dict[int, StageState] = field(default_factory=dict)
    images: dict[tuple[str, str], ops.Base] = field(default_factory=dict)

    def stage(self, index: int) -> StageState:
        """Return a stage, made with all that it needs, in the file's order."""
        for needed in sorted(find_reachable(index, self.dependencies) - self.made.keys()):
            if needed not in self.made:  # triggers may have asked for it meanwhile
                self.made[needed] = self.make(self.bound.stages[needed])
        return self.made[index]

    def make(self, item: BoundStage) -> StageState:
        """Return a stage with all its instructions, after the triggers of what it stands on (trap 27)."""
        source = self.bound.dockerfile.source
        start = item.stage.start
        context = self.given.contexts.get(item.stage.name) if item.stage.name else None
        try:
            if context is not None:
                return self.on_context(item, item.stage.name, context)[0]
            stage, pending = self.begin(item)
            triggered = tuple(parse_trigger(text, source=source, span=start.span) for text in pending)
        except LanguageError as wrong:
            raise source.error(wrong, start.span) from wrong
        stage.total += count_steps(triggered, pulls=False)
        for number, instruction in enumerate((*triggered, *item.stage.instructions)):
            span = instruction.span
            try:
                find = partial(self.find_origin, item=item, span=span)
                dispatch(stage, instruction, find, trigger=number < len(triggered))
            except LanguageError as wrong:
                raise source.error(wrong, span) from wrong
        return stage

    def begin(self, item: BoundStage) -> tuple[StageState, list[str]]:
        """Return a stage as its FROM leaves it, and the triggers that wait."""
        if item.base is not None:
            base = self.made[item.base]
            return self.on_stage(item, base), list_triggers(self.bound.stages[item.base].stage.instructions)
        platform = self.platform(item)
        if item.image == SCRATCH:
            return self.new(item, ops.Scratch(), None)
        context = _find_context(self.given, item.image, platform)
        if context is not None:
            return self.on_context(item, item.image, context)
        return self.on_image(item, item.image, platform if item.platform else None)

    def on_stage(self, item: BoundStage, base: StageState) -> StageState:
        config = msgspec.structs.replace(base.config, OnBuild=None)
        return StageState(
            title=self.title(item),
            source=base.source,
            given=self.given,
            state=base.state,
            config=config,
            scope=base.scope.child(split_env(config.Env)),
            platform=base.platform,
            author=base.author,
            history=list(base.history),
            no_cache=self.no_cache(item),
            total=count_steps(item.stage.instructions, pulls=False),
        )

    def on_image(self, item: BoundStage, name: str, platform: Platform | None) -> tuple[StageState, list[str]]:
        total = count_steps(item.stage.instructions, pulls=True)
        title = step_title(self.title(item), 1, total, f"FROM {name}")
        operation = self.image(name, platform, span=item.stage.start.span, title=title)
        stage, triggers = self.new(item, operation, operation.image)
        stage.step, stage.total = 1, total
        return stage, triggers

    def on_context(self, item: BoundStage, name: str, context: NamedContext) -> tuple[StageState, list[str]]:
        """Return a stage whose files are those of a named context."""
        if isinstance(context, NamedImage):
            return self.on_image(item, context.image, self.platform(item) if item.platform else None)
        stage, triggers = self.new(item, ops.Scratch(), None)
        files = ops.Copy(
            parent=stage.state,
            items=(ops.CopyItem(origin=context, path="/", wildcards=False),),
            destination="/",
            title=f"[context {name}] load files",
            location=stage.location(item.stage.start.span),
        )
        stage.change(files, f"FROM {name} # buildkit")
        return stage, triggers

    def new(self, item: BoundStage, state: ops.State, image: ops.BaseImage | None) -> tuple[StageState, list[str]]:
        """Return a stage on an image (None: scratch), and the image's triggers."""
        dockerfile = self.bound.dockerfile
        config, triggers = image_config(image)
        stage = StageState(
            title=self.title(item),
            source=dockerfile.source,
            given=self.given,
            state=state,
            config=config,
            scope=StageScope(
                escape=dockerfile.directives.escape,
                globals=self.known,
                build_args=self.given.build_args,
                env=split_env(config.Env),
            ),
            platform=self.given.platform if image is None else image.platform,
            author="" if image is None else image.author,
            no_cache=self.no_cache(item),
            total=count_steps(item.stage.instructions, pulls=False),
        )
        return stage, list(triggers)

    def find_origin(self, name: str, *, item: BoundStage, span: Span) -> ops.Origin:
        """Return what a ``from`` means: a stage before this one, a named context, an image. Raises ``LanguageError``."""
        found = self.bound.find_source(name)
        if found.index is not None:
            if found.index >= item.stage.index:
                raise LanguageError(
                    f'cannot copy from stage "{name}", it needs to be defined before current stage "{item.title}"',
                    word=name,
                    hint="move that stage up",
                )
            return self.stage(found.index).state
        if found.name == SCRATCH:
            return ops.Scratch()
        context = _find_context(self.given, found.name)
        if context is not None and not isinstance(context, NamedImage):
            return context
        image = found.name if context is None else context.image
        return self.image(image, None, span=span, title=f"FROM {image}")

    def image(self, name: str, platform: Platform | None, *, span: Span, title: str) -> ops.Base:
        """Return the files of an image, the same operation each time. Raises what the resolver does."""
        if platform is None and self.given.platform_given:
            platform = self.given.platform
        key = (name, str(platform or ""))
        if key not in self.images:
            source = self.bound.dockerfile.source
            location = ops.Location(
                file=source.file, first_line=span.first, last_line=span.last, text=redact(source.text(span))
            )
            found = self.given.resolver.resolve(name, platform=platform, location=location)
            self.images[key] = ops.Base(image=found, title=title, location=location)
        return self.images[key]

    def platform(self, item: BoundStage) -> Platform:
        """Return the platform that a FROM asks for, else the one that is built for."""
        return (
            parse_platform(item.platform, default=self.given.build_platform) if item.platform else self.given.platform
        )

    def title(self, item: BoundStage) -> str:
        title = item.title if len(self.bound.stages) > 1 else ""
        # As BuildKit writes it where several are built for.
        return f"{platform_names(self.platform(item)).text} {title}".rstrip() if self.given.is_one_of_several else title

    def no_cache(self, item: BoundStage) -> bool:
        return self.given.no_cache or item.stage.name in self.given.no_cache_stages
