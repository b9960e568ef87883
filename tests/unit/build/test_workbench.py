from __future__ import annotations

from dataclasses import replace

import pytest

from carboy.build.folder.binder import PostBuildStep
from carboy.build.plan import BaseStep, ConfigStep, DataStep, EnvironmentStep, RStep, ToolsStep, plan_project
from carboy.build.project import ProjectFacts
from carboy.build.tools import check_python
from carboy.build.workbench import EXECUTE, LAB, add_r_kernel, list_kernels, plan_workbench
from carboy.environments.r.wants import RPackage
from carboy.errors import CarboyError


def facts(*files: str, **texts: str) -> ProjectFacts:
    return ProjectFacts(
        folder="/mine", files=files, texts={name.replace("_", "."): text for name, text in texts.items()}, scripts={}
    )


def test_tools_stand_beside_the_packages_and_the_files_are_left_out():
    folder = facts("requirements.txt", requirements_txt="tabulate==0.9.0\n")
    plan = plan_workbench(folder, tools=(LAB,), reason="why")
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
    built, bench = plan_project(folder), plan_workbench(folder, tools=(EXECUTE,), reason="")
    assert bench.steps[:2] == built.steps[:2]
    assert bench.inputs == built.inputs  # so that a carboy.lock fits both


def test_a_folder_of_notebooks_need_not_say_what_runs_but_what_it_needs():
    with pytest.raises(CarboyError, match="nothing says what to run"):
        plan_project(facts("a.ipynb"))
    assert plan_workbench(facts("a.ipynb"), tools=(EXECUTE,), reason="").steps
    code = '{"cells": [{"cell_type": "code", "source": "import pandas"}]}'
    with pytest.raises(CarboyError, match="the code imports pandas"):
        plan_workbench(
            ProjectFacts(folder="/mine", files=("a.ipynb",), texts={"a.ipynb": code}, scripts={}),
            tools=(EXECUTE,),
            reason="",
        )


def test_data_are_those_of_the_folder_and_not_of_the_image():
    settings = '[data]\npaths = ["data"]\n[run]\ncommand = "true"\n'
    folder = facts("carboy.toml", "data", carboy_toml=settings)
    assert any(isinstance(step, DataStep) for step in plan_project(folder).steps)
    assert not any(isinstance(step, DataStep) for step in plan_workbench(folder, tools=(EXECUTE,), reason="").steps)


def test_a_folder_of_r_has_a_kernel_of_r_and_python_for_the_tools_alone():
    folder = facts("install.R", "carboy.lock", install_R='install.packages("abind")\n')
    built = plan_project(replace(folder, texts={**folder.texts, "Procfile": "main: true\n"}))
    bench = plan_workbench(folder, tools=(EXECUTE,), reason="")
    base, packages, tools, config = bench.steps
    assert isinstance(base, BaseStep)
    assert isinstance(packages, RStep)
    assert isinstance(tools, ToolsStep)
    assert isinstance(config, ConfigStep)
    assert base.packages == ("python3", "r-base-core")
    assert [package.name for package in packages.packages] == ["IRkernel", "abind"]
    assert bench.inputs == built.inputs  # so that a carboy.lock fits both
    assert list_kernels(bench) == ("ir",)
    assert "JUPYTER_PATH=/opt/carboy/r" in config.env


def test_a_folder_of_both_has_both_kernels():
    bench = plan_workbench(
        facts("requirements.txt", "install.R", requirements_txt="a==1\n", install_R=""), tools=(LAB,), reason=""
    )
    assert list_kernels(bench) == ("python3", "ir")
    assert "JUPYTER_PATH=/opt/carboy/share/jupyter:/opt/carboy/r" in bench.steps[-1].env
    assert [step.packages for step in bench.steps if isinstance(step, RStep)] == [(RPackage(name="IRkernel"),)]


def test_an_r_script_beside_python_s_packages_asks_for_no_r():
    texts = {"requirements.txt": "a==1\n", "plots.R": "library(dplyr)\n"}
    folder = ProjectFacts(folder="/mine", files=tuple(texts), texts=texts, scripts={})
    assert list_kernels(plan_workbench(folder, tools=(LAB,), reason="")) == ("python3",)
    del texts["requirements.txt"]
    with pytest.raises(CarboyError, match="the code names dplyr"):
        plan_workbench(folder, tools=(LAB,), reason="")
    texts["plots.R"] = ""
    assert list_kernels(plan_workbench(folder, tools=(LAB,), reason="")) == ("ir",)


def test_a_kernel_of_r_that_the_folder_asks_for_is_the_one():
    step = RStep(packages=(RPackage(name="IRkernel", operator="==", version="1.3"),), distribution=False, reason="")
    assert add_r_kernel(step) is step


def test_a_folder_of_conda_has_its_python_s_kernel_and_those_of_its_packages():
    folder = facts("environment.yml", environment_yml="channels: [c]\ndependencies:\n  - python=3.12\n")
    bench = plan_workbench(folder, tools=(EXECUTE,), reason="")
    (tools,) = (step for step in bench.steps if isinstance(step, ToolsStep))
    assert tools.above_conda
    assert list_kernels(bench) == ("python3",)
    assert "JUPYTER_PATH=/opt/carboy/share/jupyter:/opt/conda/share/jupyter" in bench.steps[-1].env


def test_a_python_that_is_too_old_for_the_tools_is_named():
    check_python("python 3.8.20 c/linux-64/python-3.8.20-0.conda sha256:0")
    check_python("python 3.13.0rc1 c/linux-64/python-3.13.0rc1-0.conda sha256:0")
    for version in ("3.7.12", "2.7.18"):
        with pytest.raises(CarboyError, match=f"bring Python {version}, and the tools for notebooks"):
            check_python(f"python {version} c/linux-64/python-{version}-0.conda sha256:0")


def test_the_script_that_ends_a_build_is_not_run_without_the_folders_files():
    folder = replace(facts("main.py"), scripts={"main.py": False}, post_build=("postBuild", "echo 1\n"))
    assert any(isinstance(step, PostBuildStep) for step in plan_project(folder).steps)
    bench = plan_workbench(folder, tools=(EXECUTE,), reason="")
    assert not any(isinstance(step, PostBuildStep) for step in bench.steps)
    assert "postBuild is not run" in bench.notes[-1]
