"""A folder's environment with tools beside it, in which its files are worked on where they lie: pure.

A notebook is executed, and JupyterLab served, by tools in ``/opt/tools``: an environment of its own, with a lock of its own. The
folder's packages and its lock are what they are without them. The image has none of the folder's files: those are mounted, and
whatever changes in them, it stays the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from carboy.build.folder.binder import PostBuildStep
from carboy.build.plan import APP, CondaStep, ConfigStep, DataStep, FilesStep, Plan, ToolsStep, plan_project
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from carboy.build.plan import Step
    from carboy.build.project import ProjectFacts

TOOLS_PYTHON = "/opt/tools/bin/python"
SCRIPTS = "/opt/carboy"
EXECUTE = "nbclient>=0.8,<1\nipykernel>=6.20,<8\n"
LAB = f"jupyterlab>=4,<5\n{EXECUTE}"
_ENV = ("JUPYTER_PATH=/opt/carboy/share/jupyter", "JUPYTER_PLATFORM_DIRS=1", "PYDEVD_DISABLE_FILE_VALIDATION=1")


def plan_workbench(facts: ProjectFacts, *, tools: str, reason: str) -> Plan:
    """Return the plan of a folder's environment with tools (requirements in pip's format), and without its files.

    Raises ``CarboyError`` as ``plan_project`` does, but for a folder that says nothing about what to run, and for one of conda.
    """
    # What runs is a notebook's affair, so that a folder need not say it.
    plan = plan_project(replace(facts, scripts={"notebook.py": True}))
    steps: list[Step] = []
    notes = plan.notes
    for step in plan.steps:
        if isinstance(step, CondaStep):
            raise CarboyError(
                "the Python of a folder of conda is its own, and carboy's tools for notebooks do not fit it",
                hint="name jupyterlab in environment.yml, and run it: carboy run -p 8888:8888 FOLDER jupyter lab ...",
            )
        if isinstance(step, DataStep):
            continue  # they lie in the folder, too
        if isinstance(step, PostBuildStep):
            notes = (
                *notes,
                f"{step.script} is not run: its image has the folder's files in it, which this one has not",
            )
        elif isinstance(step, FilesStep):
            steps.append(ToolsStep(requirements=tools, reason=reason))
        elif isinstance(step, ConfigStep):
            env = (*step.env, *_ENV)
            steps.append(ConfigStep(command=("python3",), env=env, workdir=APP, reason="the folder is mounted there"))
        else:
            steps.append(step)
    return replace(plan, steps=tuple(steps), notes=notes)
