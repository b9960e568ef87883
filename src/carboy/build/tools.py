"""Tools beside a folder's environment: their layers, and one with carboy's own programs that use them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import carboy.environments.jupyter as programs
from carboy.build.files import commit_files, fingerprint
from carboy.build.workbench import SCRIPTS
from carboy.environments.groups import MAX_OWN_BESIDE, MadeLayer
from carboy.environments.host import read_index_config
from carboy.environments.install import (
    TOOLS,
    EnvironmentRequest,
    installer_version,
)
from carboy.layers.apply import take_layer

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carboy.build.plan import ToolsStep
    from carboy.oci.digest import Digest
    from carboy.store.store import Store

_IGNORED = ("__pycache__", "__init__.py")


def plan_tools(
    step: ToolsStep, *, environ: Mapping[str, str], base: Digest, key: str, interpreter: str, epoch_s: int
) -> EnvironmentRequest:
    """Return what to install; the fields are those of ``EnvironmentRequest``.

    ``key`` stands for all that the choice of versions depends on, which is made once.
    """
    return EnvironmentRequest(
        requirements=step.requirements,
        constraints="",
        allowed="",
        base=(base,),
        key=f"{key}:{installer_version()}",
        interpreter=interpreter,
        epoch_s=epoch_s,
        indexes=read_index_config(environ),
        root=TOOLS,
        own=MAX_OWN_BESIDE,
    )


def put_programs(store: Store, *, epoch_s: int) -> MadeLayer:
    """Return the layer of carboy's own programs for the tools, durable in the store."""
    folder = os.path.dirname(programs.__file__)
    key = f"layer:programs:{SCRIPTS}:{epoch_s}:{fingerprint(folder, _IGNORED)}"
    taken = take_layer(
        store, key, lambda: commit_files(store, folder, target=SCRIPTS, ignore=_IGNORED, mtime_s=epoch_s)
    )
    return MadeLayer(layer=taken.layer, content=f"programs in {SCRIPTS}", cached=taken.cached)
