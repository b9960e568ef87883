from __future__ import annotations

from dataclasses import replace

import pytest

from carboy.build.folder.binder import PostBuildStep
from carboy.build.plan import BaseStep, ConfigStep, DataStep, EnvironmentStep, ToolsStep, plan_project
from carboy.build.project import ProjectFacts
from carboy.build.workbench import EXECUTE, LAB, plan_workbench
from carboy.errors import CarboyError


def facts(*files: str, **texts: str) -> ProjectFacts:
    return ProjectFacts(
        folder="/mine", files=files, texts={name.replace("_", "."): text for name, text in texts.items()}, scripts={}
    )


def test_tools_stand_beside_the_packages_and_the_files_are_left_out():
    folder = facts("requirements.txt", requirements_txt="tabulate==0.9.0\n")
    plan = plan_workbench(folder, tools=LAB, reason="why")
    base, environment, tools, config = plan.steps
    assert isinstance(base, BaseStep)
    assert isinstance(environment, EnvironmentStep)
    assert isinstance(tools, ToolsStep)
    assert isinstance(config, ConfigStep)
    assert environment.requirements == "tabulate==0.9.0\n"
    assert (tools.requirements, tools.reason) == (LAB, "why")
    assert tools.what == "tools beside it: jupyterlab, nbclient, ipykernel"
    assert "PATH=/opt/env/bin:" in "".join(config.env)
    assert "JUPYTER_PATH=/opt/carboy/share/jupyter" in config.env


def test_the_folder_s_own_steps_are_those_of_a_build():
    folder = ProjectFacts(
        folder="/mine",
        files=("main.py",),
        texts={"main.py": "", "requirements.txt": "a==1\n"},
        scripts={"main.py": False},
    )
    built, bench = plan_project(folder), plan_workbench(folder, tools=EXECUTE, reason="")
    assert bench.steps[:2] == built.steps[:2]
    assert bench.inputs == built.inputs  # so that a carboy.lock fits both


def test_a_folder_of_notebooks_need_not_say_what_runs_but_what_it_needs():
    with pytest.raises(CarboyError, match="nothing says what to run"):
        plan_project(facts("a.ipynb"))
    assert plan_workbench(facts("a.ipynb"), tools=EXECUTE, reason="").steps
    code = '{"cells": [{"cell_type": "code", "source": "import pandas"}]}'
    with pytest.raises(CarboyError, match="the code imports pandas"):
        plan_workbench(
            ProjectFacts(folder="/mine", files=("a.ipynb",), texts={"a.ipynb": code}, scripts={}),
            tools=EXECUTE,
            reason="",
        )


def test_data_are_those_of_the_folder_and_not_of_the_image():
    settings = '[data]\npaths = ["data"]\n[run]\ncommand = "true"\n'
    folder = facts("carboy.toml", "data", carboy_toml=settings)
    assert any(isinstance(step, DataStep) for step in plan_project(folder).steps)
    assert not any(isinstance(step, DataStep) for step in plan_workbench(folder, tools=EXECUTE, reason="").steps)


def test_a_folder_of_conda_is_refused():
    folder = facts("environment.yml", environment_yml="dependencies:\n  - python=3.12\n")
    with pytest.raises(CarboyError, match="conda is its own"):
        plan_workbench(folder, tools=EXECUTE, reason="")


def test_the_script_that_ends_a_build_is_not_run_without_the_folders_files():
    folder = replace(facts("main.py"), scripts={"main.py": False}, post_build=("postBuild", "echo 1\n"))
    assert any(isinstance(step, PostBuildStep) for step in plan_project(folder).steps)
    bench = plan_workbench(folder, tools=EXECUTE, reason="")
    assert not any(isinstance(step, PostBuildStep) for step in bench.steps)
    assert "postBuild is not run" in bench.notes[-1]
