"""The environment of a folder with tools beside it, and what runs in it on the folder's own files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.build.workbench import PYTHON_KERNEL, SCRIPTS, TOOLS_PYTHON, list_kernels, plan_workbench
from carboy.engine.containers.request import RunRequest
from carboy.errors import CarboyError
from carboy.runtime.mounts import MountRequest, format_mount

if TYPE_CHECKING:
    from carboy.build.plan import Plan
    from carboy.build.progress import Progress
    from carboy.engine.builds.offline import OfflineSource
    from carboy.engine.context import Engine

SUFFIX = ".ipynb"
EXECUTED = ".executed.ipynb"


@dataclass(frozen=True, slots=True, kw_only=True)
class Workbench:
    """An image to work in: its manifest by digest, the folder (an absolute path), the network it asks for, remarks for people.

    ``kernels`` are those of the folder's languages, by Jupyter's names.
    """

    manifest: str
    folder: str
    network: str
    notes: tuple[str, ...]
    kernels: tuple[str, ...] = (PYTHON_KERNEL,)


def plan_bench(folder: str, *, tools: str, reason: str) -> Plan:
    """Return the plan of the environment of ``folder`` with tools (requirements in pip's format) beside it.

    Raises ``CarboyError`` for a folder with a Dockerfile, and for what cannot be planned.
    """
    from carboy.build.project import read_project
    from carboy.build.sources import read_front

    choice = read_front(folder, file=None)
    if choice.front != "python":
        raise CarboyError(
            f"{folder} is built by its {choice.file}: carboy does not know where its Python keeps packages",
            hint="put Jupyter into that image, and run it from there; or add a carboy.toml, which makes it a folder of Python",
        )
    return plan_workbench(read_project(folder), tools=(tools,), reason=reason)


def build_workbench(
    engine: Engine, plan: Plan, *, progress: Progress, source: OfflineSource | None = None
) -> Workbench:
    """Build what :func:`plan_bench` has planned. The folder's own lock counts and is not changed.

    ``source``: without a network, of that. Raises what a build raises.
    """
    from carboy.build.executor import execute

    with engine.store.lease("build"):  # nor do files of a bundle go before they are used
        offline = source.open(engine) if source is not None else None
        result = execute(plan, engine.build_context(progress, offline=offline))
    return Workbench(
        manifest=str(result.descriptor.digest),
        folder=os.path.abspath(plan.folder),
        network=result.network,
        notes=result.notes,
        kernels=list_kernels(plan),
    )


def find_kernel(plan: Plan, notebook: str) -> str:
    """Return the kernel of a notebook of the plan's folder, by its language. Raises ``CarboyError`` for one that is not there."""
    from carboy.build.plan import CondaStep
    from carboy.engine.notebooks.kernels import choose_kernel, read_kind

    conda = any(isinstance(step, CondaStep) for step in plan.steps)
    kind = read_kind(f"{plan.folder}/{notebook}")
    return choose_kernel(kind, list_kernels(plan), notebook=notebook, conda=conda)


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


def plan_notebook(request: RunRequest, bench: Workbench, notebook: str, *, kernel: str = PYTHON_KERNEL) -> RunRequest:
    """Return the run that executes a notebook by a kernel, written beside it as ``NAME.executed.ipynb``. Pure."""
    target = notebook.removesuffix(SUFFIX) + EXECUTED
    return request.replace(
        entrypoint=(),
        arguments=(TOOLS_PYTHON, f"{SCRIPTS}/execute.py", notebook, target, kernel, *request.arguments[1:]),
        mounts=(mount_folder(bench), *request.mounts),
        network=request.network or bench.network or None,
    )


def plan_lab(bench: Workbench, *, port: int, token: str, network: str) -> RunRequest:
    """Return the run of JupyterLab that answers on 127.0.0.1 at ``port``. Pure.

    On the host's ``network`` it listens there itself; else its port is published.
    """
    shared = network == "host"
    inner = port if shared else 8888
    options: tuple[str, ...] = ("--ServerApp.ip=127.0.0.1", f"--ServerApp.port={inner}", "--ServerApp.port_retries=0")
    if PYTHON_KERNEL not in bench.kernels:  # the tools' own Python is not for notebooks
        shown = (f"--KernelSpecManager.allowed_kernelspecs={name}" for name in bench.kernels)
        options = (*options, *shown, f"--MappingKernelManager.default_kernel_name={bench.kernels[0]}")
    return RunRequest(
        entrypoint=(),
        arguments=(TOOLS_PYTHON, f"{SCRIPTS}/lab.py", f"http://127.0.0.1:{port}", *options),
        env=(f"JUPYTER_TOKEN={token}",),
        mounts=(mount_folder(bench),),
        publish=() if shared else (f"127.0.0.1:{port}:{inner}",),
        network=network or None,
        auto_remove=True,
    )
