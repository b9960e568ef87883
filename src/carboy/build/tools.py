"""Tools beside a folder's environment: their layers, and one with carboy's own programs that use them."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import carboy.environments.jupyter as programs
from carboy.build.files import commit_files, fingerprint
from carboy.build.plan import step_key
from carboy.build.workbench import OLDEST_PYTHON, SCRIPTS
from carboy.environments.conda.wants import PREFIX
from carboy.environments.groups import MAX_OWN_BESIDE, MadeLayer
from carboy.environments.host import read_index_config
from carboy.environments.install import (
    PYTHON,
    TOOLS,
    EnvironmentRequest,
    installer_version,
)
from carboy.errors import CarboyError
from carboy.layers.apply import take_layer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.build.plan import ToolsStep
    from carboy.oci.digest import Digest
    from carboy.store.store import Store

_IGNORED = ("__pycache__", "__init__.py")


def plan_tools(
    step: ToolsStep, *, environ: Mapping[str, str], base: Sequence[Digest], below: str, interpreter: str, epoch_s: int
) -> EnvironmentRequest:
    """Return what to install; the fields are those of ``EnvironmentRequest``.

    ``below`` is the key of what the tools stand on: with them, all that the choice of versions depends on, which is made once.
    Raises ``CarboyError`` for a Python of conda's that is too old for them.
    """
    if step.above_conda:
        check_python(interpreter)
    # Whatever the folder's kernels are: the tools are the same, and shared.
    key = step_key(replace(step, kernels=()), parent=below)
    return EnvironmentRequest(
        requirements=step.requirements,
        constraints="",
        allowed="",
        base=tuple(base),
        key=f"{key}:{installer_version()}",
        interpreter=interpreter,
        epoch_s=epoch_s,
        indexes=read_index_config(environ),
        root=TOOLS,
        python=f"{PREFIX}/bin/python" if step.above_conda else PYTHON,
        own=MAX_OWN_BESIDE,
    )


def check_python(line: str) -> None:
    """Raise ``CarboyError`` where the Python of conda's, a line of a lock, is too old for the tools. Pure."""
    version = line.split(" ")[1]
    if tuple(int(part) for part in version.split(".")[:2] if part.isdecimal()) < OLDEST_PYTHON:
        oldest = ".".join(map(str, OLDEST_PYTHON))
        raise CarboyError(
            f"conda's packages bring Python {version}, and the tools for notebooks (ipykernel) need {oldest} or newer",
            hint=f"ask for a newer one, in environment.yml: python >={oldest}",
        )


def put_programs(store: Store, *, epoch_s: int) -> MadeLayer:
    """Return the layer of carboy's own programs for the tools, durable in the store."""
    folder = os.path.dirname(programs.__file__)
    key = f"layer:programs:{SCRIPTS}:{epoch_s}:{fingerprint(folder, _IGNORED)}"
    taken = take_layer(
        store, key, lambda: commit_files(store, folder, target=SCRIPTS, ignore=_IGNORED, mtime_s=epoch_s)
    )
    return MadeLayer(layer=taken.layer, content=f"programs in {SCRIPTS}", cached=taken.cached)
