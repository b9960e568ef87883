"""Steps and bases of other processors: they run where the machine has an emulator for them, and are refused elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.build.graph.ops import Base, Copy, MakeFolder, Run
from carboy.errors import CarboyError
from carboy.images.binfmt import explain_missing
from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from carboy.bootstrap.layer import Making
    from carboy.build.graph.ops import State


def find_platform(state: State) -> Platform | None:
    """Return the platform of the image that a state stands on, None where it stands on nothing. Pure."""
    while isinstance(state, Run | Copy | MakeFolder):
        state = state.parent
    return state.image.platform if isinstance(state, Base) else None


def check_runs(platform: Platform | None, what: str) -> None:
    """Raise ``CarboyError`` unless programs for ``platform`` run on this machine; ``what`` needs them."""
    machine = Platform.current()
    if platform is None or platform.architecture == machine.architecture:
        return
    reason, hint = explain_missing(platform.architecture, machine=machine.architecture)
    if reason:
        raise CarboyError(
            f"{what} needs programs for {platform} to run, and this machine is {machine}", details=reason, hint=hint
        )


def check_base(making: Making, platform: Platform, *, refresh: bool) -> None:
    """Raise ``CarboyError`` where a base for another processor would have to be made, and nothing runs its programs."""
    from carboy.bootstrap.bootstrap import find_base

    if refresh or find_base(making.recipe, store=making.store, archive=making.archive) is None:
        check_runs(platform, "making its base")
