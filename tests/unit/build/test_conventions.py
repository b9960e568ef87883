"""repo2docker's conventions, each as a folder on the disk, and what a build makes of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.build.detected import detect_folder
from carboy.build.plan import BaseStep, EnvironmentStep, FilesStep, Plan, plan_project
from carboy.build.project import read_project
from carboy.errors import CarboyError


def make(folder: Path, **files: str) -> str:
    """Write files into a folder; "__" stands for "." in their names, and "___" for "/"."""
    for name, text in {"main__py": "print(1)\n", **files}.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return str(folder)


def plan(folder: str) -> Plan:
    return plan_project(read_project(folder))


def list_requirements(folder: str) -> list[str]:
    return [
        line for step in plan(folder).steps if isinstance(step, EnvironmentStep) for line in step.requirements.split()
    ]


def read_base(folder: str) -> BaseStep:
    step = plan(folder).steps[0]
    assert isinstance(step, BaseStep)
    return step


def test_what_is_at_the_top_does_not_count_beside_binder(tmp_path: Path) -> None:
    folder = make(
        tmp_path,
        requirements__txt="top",
        setup__py="raise SystemExit",
        pyproject__toml='[project]\nname = "x"\ndependencies = ["other"]\n',
        Pipfile="",
        default__nix="",
        runtime__txt="python-3.13",
        binder___apt__txt="jq",
    )
    assert list_requirements(folder) == []
    assert read_base(folder).base == "debian:bookworm"
    (tmp_path / "binder" / "requirements.txt").write_text("inner\n")
    assert list_requirements(folder) == ["inner"]
    (tmp_path / ".binder").mkdir()
    with pytest.raises(CarboyError, match=r"both .binder and binder"):
        read_project(folder)


@pytest.mark.parametrize("name", ["Project__toml", "JuliaProject__toml", "REQUIRE", "default__nix"])
@pytest.mark.parametrize("place", ["", "binder___"])
def test_packages_of_other_languages_are_refused(tmp_path: Path, name: str, place: str) -> None:
    folder = make(tmp_path, **{f"{place}{name}": "", f"{place}requirements__txt": "click\n"})
    shown = f"{place}{name}".replace("___", "/").replace("__", ".")
    with pytest.raises(CarboyError, match=f"{shown} has .*, which carboy does not install"):
        plan(folder)
    assert f"{shown} has" in detect_folder(folder).problem
    (tmp_path / "carboy.toml").write_text('[python]\nrequirements = "requirements.txt"\n')
    if not place:
        assert list_requirements(folder) == ["click"]


@pytest.mark.parametrize(
    ("text", "base"),
    [
        ("python-3.13\n", "trixie"),
        ("python-3.11.4", "bookworm"),
        ("python-3.9-2023-01-01", "bullseye"),
        ("python-2023-01-01", "bookworm"),
        ("", "bookworm"),
    ],
)
def test_forms_of_runtime_txt(tmp_path: Path, text: str, base: str) -> None:
    assert read_base(make(tmp_path, runtime__txt=text)).base == f"debian:{base}"


@pytest.mark.parametrize("text", ["julia-1.9", "3.11", "python", "python-", "python-three", "python-3.11-soon"])
def test_a_runtime_that_is_not_had_is_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(CarboyError, match=r"runtime\.txt: .* names no version of Python or R"):
        plan(make(tmp_path, runtime__txt=text))


def test_conda_does_not_read_runtime_txt_nor_requirements(tmp_path: Path) -> None:
    folder = make(
        tmp_path,
        environment__yml="dependencies: [python=3.12]\n",
        environment__yaml="dependencies: [other]\n",
        requirements__txt="x",
        runtime__txt="julia-1.9",
    )
    assert plan(folder).steps[1].what == "install 1 package of conda's into /opt/conda"
    assert list_requirements(folder) == []


def test_two_files_that_ask_for_different_Pythons_are_named(tmp_path: Path) -> None:
    project = '[project]\nname = "x"\nrequires-python = ">=3.12"\ndependencies = ["click"]\n'
    folder = make(tmp_path, runtime__txt="python-3.11", pyproject__toml=project)
    with pytest.raises(CarboyError, match=r"runtime\.txt asks for Python 3\.11, and .*pyproject\.toml for >=3\.12"):
        plan(folder)
    (tmp_path / "carboy.toml").write_text('[python]\nversion = "3.11"\n')
    assert read_base(folder).base == "debian:bookworm"
    (tmp_path / "carboy.toml").unlink()
    (tmp_path / "runtime.txt").write_text("python-3.13")
    assert read_base(folder).base == "debian:trixie"


def test_apt_txt_has_names_in_lines_or_beside_each_other(tmp_path: Path) -> None:
    folder = make(tmp_path, apt__txt="jq  curl # two\n\nvim\n")
    assert read_base(folder).packages == ("python3", "curl", "jq", "vim")
    (tmp_path / "apt.txt").write_text("jq=1.6\n")
    with pytest.raises(CarboyError, match=r"'jq=1\.6' is no name of a package"):
        plan(folder)


def test_what_is_ignored_says_containerignore_too(tmp_path: Path) -> None:
    folder = make(tmp_path, __dockerignore="a\n", __containerignore="b\n")
    step = next(step for step in plan(folder).steps if isinstance(step, FilesStep))
    assert step.ignore[-1] == "b"


def test_carboy_toml_says_what_is_in_the_image(tmp_path: Path) -> None:
    text = '[files]\nexclude = ["*.csv", "big/**"]\ninclude = ["keep.csv"]\n'
    folder = make(tmp_path, __dockerignore="a\n", carboy__toml=text)
    step = next(step for step in plan(folder).steps if isinstance(step, FilesStep))
    assert step.ignore[-4:] == ("a", "*.csv", "big/**", "!keep.csv")


def test_a_member_of_a_workspace_needs_the_lock(tmp_path: Path) -> None:
    text = '[project]\nname = "x"\ndependencies = ["Own_Part>=1"]\n[tool.uv.sources]\nown-part = { workspace = true }\n'
    folder = make(tmp_path, pyproject__toml=text)
    with pytest.raises(CarboyError, match="asks for own-part, a member of uv's workspace"):
        plan(folder)
    (tmp_path / "uv.lock").write_text(
        'version = 1\n[[package]]\nname = "own-part"\nversion = "1"\nsource = { editable = "libs/own" }\n'
    )
    assert list_requirements(folder) == ["Own_Part>=1"]
