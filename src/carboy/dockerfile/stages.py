"""Stages and what they stand on: names to stages, images and contexts; what a target needs; cycles.

Source: moby/buildkit, dockerfile2llb/convert.go (buildDispatchStates, addState, toCommand) and validations.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from carboy.dockerfile.errors import LanguageError, Span
from carboy.dockerfile.instructions.model import Copy, Dockerfile, Run, Stage, StageInstruction
from carboy.dockerfile.instructions.mounts import parse_mount_origin
from carboy.dockerfile.scope import Globals
from carboy.dockerfile.suggest import did_you_mean
from carboy.dockerfile.value import Value
from carboy.dockerfile.words import Processed, process

SCRATCH = "scratch"


class BoundStage(Value):
    """A stage whose FROM is known: ``base`` is the stage it begins with, None for an image.

    ``image`` and ``platform`` are expanded.
    """

    stage: Stage
    image: str
    platform: str = ""
    base: int | None = None

    @property
    def title(self) -> str:
        """What people see: the name, else "stage-N"."""
        return self.stage.name or f"stage-{self.stage.index}"


class SourceRef(Value):
    """What a ``from`` means: a stage by ``index``, else ``name``: a context or an image."""

    index: int | None = None
    name: str = ""


class BoundStages(Value):
    """All stages of a file; ``names`` are those that ``--from`` and ``--target`` know: of two alike the last (trap 18)."""

    dockerfile: Dockerfile
    stages: tuple[BoundStage, ...]
    names: dict[str, int]

    def find_target(self, target: str) -> int:
        """Return the index of a target: its name or number, "" for the last stage. Raises ``DockerfileError``."""
        if not target:
            return len(self.stages) - 1
        if (index := self.names.get(target.lower())) is not None:
            return index
        if target.isdecimal() and int(target) < len(self.stages):
            return int(target)
        known = ", ".join(stage.title for stage in self.stages)
        wrong = LanguageError(
            f'target stage "{target}" could not be found{did_you_mean(target, self.names)}', hint=f"there are {known}"
        )
        raise self.dockerfile.source.error(wrong, Span(0, 0))

    def find_source(self, name: str) -> SourceRef:
        """Return what ``COPY --from=name`` or a mount's ``from=name`` means.

        Raises ``LanguageError`` for a stage that is not there.
        """
        if name.isdecimal() or (name[:1] in "+-" and name[1:].isdecimal()):
            index = int(name)
            if not 0 <= index < len(self.stages):
                raise LanguageError(
                    f"invalid stage index {index}", word=name, hint=f"stages are 0 to {len(self.stages) - 1}"
                )
            return SourceRef(index=index)
        found = self.names.get(name.lower())
        return SourceRef(name=name) if found is None else SourceRef(index=found)

    def list_sources(self, instruction: StageInstruction) -> list[SourceRef]:
        """Return what an instruction takes files from besides its own stage and the context. Raises ``LanguageError``."""
        if isinstance(instruction, Copy) and instruction.source:
            check_source(instruction.source)
            return [self.find_source(instruction.source)]
        if isinstance(instruction, Run) and instruction.mounts:
            origins = [parse_mount_origin(mount) for mount in instruction.mounts]
            return [self.find_source(origin) for origin in origins if origin]
        return []


def check_source(name: str) -> None:
    """Refuse variables in ``--from`` (trap 14). Raises ``LanguageError``."""
    if process(name, {}).text != name:
        raise LanguageError(
            "variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a"
            " workaround",
            word=name,
            hint="write FROM ${IMAGE} AS name above, with an ARG before the first FROM, and --from=name here",
        )


def expand_start(stage: Stage, known: Globals, *, escape: str) -> tuple[Processed, Processed]:
    """Return a FROM's image and platform, expanded. Raises ``LanguageError``."""
    image = process(stage.start.image, known.values, escape=escape)
    if not image.text:
        raise LanguageError(
            f"base name ({stage.start.image}) should not be blank",
            word=stage.start.image,
            hint="give the ARG a value, before the first FROM or with --build-arg",
        )
    platform = process(stage.start.platform, known.values, escape=escape)
    if stage.start.platform and not platform.text:
        near = "".join(did_you_mean(name, known.values) for name in sorted(platform.unmatched)[:1])
        raise LanguageError(
            f"empty platform value from expression {stage.start.platform}{near}", word=stage.start.platform
        )
    return image, platform


def bind_stages(dockerfile: Dockerfile, known: Globals, *, contexts: Iterable[str] = ()) -> BoundStages:
    """Return the stages with what they stand on. A stage named like one of ``contexts`` stands on that alone.

    A name is known after its own FROM, in lower case, and written so where it is used there (traps 17 and 18). Raises
    ``DockerfileError``.
    """
    stages: list[BoundStage] = []
    names: dict[str, int] = {}
    replaced = set(contexts)
    for stage in dockerfile.stages:
        try:
            image, platform = expand_start(stage, known, escape=dockerfile.directives.escape)
        except LanguageError as wrong:
            raise dockerfile.source.error(wrong, stage.start.span) from wrong
        base = None if stage.name and stage.name in replaced else names.get(image.text)
        stages.append(BoundStage(stage=stage, image=image.text, platform=platform.text, base=base))
        if stage.name:
            names[stage.name] = stage.index
    return BoundStages(dockerfile=dockerfile, stages=tuple(stages), names=names)


def list_dependencies(bound: BoundStages) -> list[dict[int, StageInstruction | None]]:
    """Return, for each stage, the stages that it needs, with the instruction that does (None: its FROM).

    Raises ``DockerfileError``.
    """
    found: list[dict[int, StageInstruction | None]] = []
    for item in bound.stages:
        needed: dict[int, StageInstruction | None] = {} if item.base is None else {item.base: None}
        for instruction in item.stage.instructions:
            try:
                sources = bound.list_sources(instruction)
            except LanguageError as wrong:
                raise bound.dockerfile.source.error(wrong, instruction.span) from wrong
            for source in sources:
                if source.index is not None:
                    needed.setdefault(source.index, instruction)
        found.append(needed)
    return found


def check_cycles(bound: BoundStages, dependencies: Sequence[dict[int, StageInstruction | None]]) -> None:
    """Refuse stages that need each other. Raises ``DockerfileError`` at the instruction that closes the circle (trap 21)."""
    state: dict[int, int] = {}  # 1: on the way, 2: done
    for start in range(len(bound.stages)):
        stack = [(start, iter(dependencies[start].items()))] if start not in state else []
        state.setdefault(start, 1)
        while stack:
            index, left = stack[-1]
            following = next(left, None)
            if following is None:
                state[index] = 2
                stack.pop()
                continue
            other, instruction = following
            if state.get(other) == 1:
                name = bound.stages[other].title
                span = bound.stages[index].stage.start.span if instruction is None else instruction.span
                wrong = LanguageError(
                    f"circular dependency detected on stage: {name}", word=name, hint="copy from an earlier stage"
                )
                raise bound.dockerfile.source.error(wrong, span)
            if other not in state:
                state[other] = 1
                stack.append((other, iter(dependencies[other].items())))


def find_reachable(target: int, dependencies: Sequence[dict[int, StageInstruction | None]]) -> set[int]:
    """Return the stages that a target needs, itself included."""
    reached: set[int] = set()
    waiting = [target]
    while waiting:
        index = waiting.pop()
        if index not in reached:
            reached.add(index)
            waiting.extend(dependencies[index])
    return reached
