"""A folder's environment with tools beside it, in which its files are worked on where they lie: pure.

A notebook is executed, and JupyterLab served, by tools in ``/opt/tools``: an environment of its own, with a lock of its own. The
folder's packages and its lock are what they are without them. The image has none of the folder's files: those are mounted, and
whatever changes in them, it stays the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.build.folder.binder import PostBuildStep
from carboy.build.plan import (
    APP,
    BaseStep,
    CondaStep,
    ConfigStep,
    DataStep,
    FilesStep,
    Plan,
    RStep,
    ToolsStep,
    plan_project,
)
from carboy.build.r import CORE, list_r_scripts
from carboy.build.settings import parse_settings
from carboy.environments.conda.choose import FILES
from carboy.environments.conda.wants import PREFIX
from carboy.environments.detect.choose import choose_wants
from carboy.environments.r.wants import RPackage

if TYPE_CHECKING:
    from collections.abc import Collection

    from carboy.build.plan import Step
    from carboy.build.project import ProjectFacts

TOOLS_PYTHON = "/opt/tools/bin/python"
SCRIPTS = "/opt/carboy"
EXECUTE = "nbclient>=0.8,<1\nipykernel>=6.20,<8\n"
LAB = f"jupyterlab>=4,<5\n{EXECUTE}"
OLDEST_PYTHON = (3, 8)
"""What the tools need of a Python that is not the base's."""
PYTHON_KERNEL, R_KERNEL = "python3", "ir"
_R_TOOL = RPackage(name="IRkernel")
_PLACES = {PYTHON_KERNEL: f"{SCRIPTS}/share/jupyter", R_KERNEL: f"{SCRIPTS}/r"}
_ENV = ("JUPYTER_PLATFORM_DIRS=1", "PYDEVD_DISABLE_FILE_VALIDATION=1")


def plan_workbench(facts: ProjectFacts, *, tools: tuple[str, ...], reason: str) -> Plan:
    """Return the plan of a folder's environment with tools (requirements in pip's format), and without its files.

    Each of ``tools`` is a step; they say which kernels there are (:func:`list_kernels`). Raises ``CarboyError`` as
    ``plan_project`` does, but for a folder that says nothing about what to run.
    """
    # What runs is a notebook's affair, so that a folder need not say it.
    scripts = {**facts.scripts, "notebook.py": True} if _names_python(facts) else facts.scripts
    plan = plan_project(replace(facts, scripts=scripts, texts={**facts.texts, "Procfile": "notebook: python3\n"}))
    conda = any(isinstance(step, CondaStep) for step in plan.steps)
    base = next(step for step in plan.steps if isinstance(step, BaseStep))
    python = conda or "python3" in base.packages
    r = CORE in base.packages
    kernels = ((PYTHON_KERNEL,) if python else ()) + ((R_KERNEL,) if r else ())
    steps: list[Step] = []
    notes = plan.notes
    for step in plan.steps:
        if isinstance(step, BaseStep) and not python:
            packages = ("python3", *step.packages)  # for the tools
            steps.append(replace(step, packages=packages))
        elif isinstance(step, RStep):
            steps.append(add_r_kernel(step))
        elif isinstance(step, DataStep):
            continue  # they lie in the folder, too
        elif isinstance(step, PostBuildStep):
            notes = (
                *notes,
                f"{step.script} is not run: its image has the folder's files in it, which this one has not",
            )
        elif isinstance(step, FilesStep):
            if r and not any(isinstance(other, RStep) for other in plan.steps):
                steps.append(RStep(packages=(_R_TOOL,), distribution=False, reason="the kernel of notebooks in R"))
            steps += [
                ToolsStep(requirements=lines, reason=reason, kernels=kernels, above_conda=conda) for lines in tools
            ]
        elif isinstance(step, ConfigStep):
            env = (*step.env, f"JUPYTER_PATH={_name_places(kernels, conda=conda)}", *_ENV)
            steps.append(ConfigStep(command=("python3",), env=env, workdir=APP, reason="the folder is mounted there"))
        else:
            steps.append(step)
    return replace(plan, steps=tuple(steps), notes=notes)


def _names_python(facts: ProjectFacts) -> bool:
    """Return whether R scripts lie beside a list of Python's packages: by themselves they ask for no R then."""
    if not list_r_scripts(facts) or any(name in facts.texts for name in FILES):
        return False
    settings = parse_settings(facts.texts.get("carboy.toml", ""))
    found = choose_wants(facts.texts, named=settings.requirements, extras=settings.extras, groups=settings.groups)
    return found is not None


def add_r_kernel(step: RStep) -> RStep:
    """Return a step that also installs the kernel of notebooks in R, in the version that the folder asks for if it does."""
    if any(package.name == _R_TOOL.name for package in step.packages):
        return step
    packages = sorted((*step.packages, _R_TOOL), key=lambda package: package.name)
    return replace(step, packages=tuple(packages))


def list_kernels(plan: Plan) -> tuple[str, ...]:
    """Return the kernels of a workbench, by Jupyter's names."""
    return next((step.kernels for step in reversed(plan.steps) if isinstance(step, ToolsStep)), ())


def _name_places(kernels: Collection[str], *, conda: bool) -> str:
    """Return where kernels are looked for; conda's packages may bring some of their own."""
    return ":".join([*(_PLACES[name] for name in kernels), *([f"{PREFIX}/share/jupyter"] if conda else [])])
