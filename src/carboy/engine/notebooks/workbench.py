"""The environment of a folder with tools beside it, and what runs in it on the folder's own files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.engine.containers.request import RunRequest
from carboy.errors import CarboyError
from carboy.runtime.mounts import MountRequest, format_mount

if TYPE_CHECKING:
    from carboy.build.progress import Progress
    from carboy.engine.builds.offline import OfflineSource
    from carboy.engine.context import Engine

SUFFIX = ".ipynb"
EXECUTED = ".executed.ipynb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """An image to work in: its manifest by digest, the folder (an absolute path), the network it asks for, remarks for people."""

    manifest: str
    folder: str
    network: str
    notes: tuple[str, ...]


def build_workbench(
    engine: Engine, folder: str, *, tools: str, reason: str, progress: Progress, source: OfflineSource | None = None
) -> Workbench:
    """Build the environment of ``folder`` with tools (requirements in pip's format) beside it.

    The folder's own lock counts and is not changed. ``source``: without a network, of that. Raises ``CarboyError`` for a folder
    with a Dockerfile, and what a build raises.
    """
    from carboy.build.executor import execute
    from carboy.build.project import read_project
    from carboy.build.sources import read_front
    from carboy.build.workbench import plan_workbench

    choice = read_front(folder, file=None)
    if choice.front != "python":
        raise CarboyError(
            f"{folder} is built by its {choice.file}: carboy does not know where its Python keeps packages",
            hint="put Jupyter into that image, and run it from there; or add a carboy.toml, which makes it a folder of Python",
        )
    plan = plan_workbench(read_project(folder), tools=tools, reason=reason)
    with engine.store.lease("build"):  # nor do files of a bundle go before they are used
        offline = source.open(engine) if source is not None else None
        result = execute(plan, engine.build_context(progress, offline=offline))
    return Workbench(
        manifest=str(result.descriptor.digest),
        folder=os.path.abspath(folder),
        network=result.network,
        notes=result.notes,
    )


def mount_folder(bench: Workbench) -> tuple[str, str]:
    """Return the mount of the folder where its image works, whose files are the caller's in every tier. Pure."""
    from carboy.build.plan import APP

    mount = MountRequest(kind="bind", source=bench.folder, target=APP, idmap="owner")
    return "mount", format_mount(mount)


def find_notebook(folder: str, name: str) -> str:
    """Return the path of a notebook below ``folder`` as it is named there. Raises ``CarboyError``."""
    path = os.path.normpath(name)
    if os.path.isabs(path):
        path = os.path.relpath(path, os.path.abspath(folder))
    if path.startswith("../") or not os.path.isfile(f"{folder}/{path}"):
        found = sorted(entry for entry in os.listdir(folder) if entry.endswith(SUFFIX) and not entry.endswith(EXECUTED))
        has = f"it has {', '.join(found[:8])}" if found else "it has none at its top"
        raise CarboyError(f"there is no notebook {name} in {folder}", hint=has)
    return path


def plan_notebook(request: RunRequest, bench: Workbench, notebook: str) -> RunRequest:
    """Return the run that executes a notebook, written beside it as ``NAME.executed.ipynb``. Pure."""
    from carboy.build.workbench import SCRIPTS, TOOLS_PYTHON

    target = notebook.removesuffix(SUFFIX) + EXECUTED
    return request.replace(
        entrypoint=(),
        arguments=(TOOLS_PYTHON, f"{SCRIPTS}/execute.py", notebook, target, *request.arguments[1:]),
        mounts=(mount_folder(bench), *request.mounts),
        network=request.network or bench.network or None,
    )


def plan_lab(bench: Workbench, *, port: int, token: str, network: str) -> RunRequest:
    """Return the run of JupyterLab that answers on 127.0.0.1 at ``port``. Pure.

    On the host's ``network`` it listens there itself; else its port is published.
    """
    from carboy.build.workbench import SCRIPTS, TOOLS_PYTHON

    shared = network == "host"
    inner = port if shared else 8888
    options = ("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={inner}", "--ServerApp.port_retries=0")
    return RunRequest(
        entrypoint=(),
        arguments=(TOOLS_PYTHON, f"{SCRIPTS}/lab.py", f"http://127.0.0.1:{port}", *options),
        env=(f"JUPYTER_TOKEN={token}",),
        mounts=(mount_folder(bench),),
        publish=() if shared else (f"127.0.0.1:{port}:{inner}",),
        network=network or None,
        auto_remove=True,
    )
