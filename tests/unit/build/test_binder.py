"""repo2docker's ``start`` wraps the command; its ``postBuild`` is the last step of a build."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.build.folder.binder import plan_post_build, wrap_command
from carboy.build.folder.scripts import advise
from carboy.build.plan import ConfigStep, FilesStep, PostBuildStep, plan_project
from carboy.build.project import ProjectFacts, read_project
from carboy.errors import CarboyError


def facts(binder: str = "", post_build: tuple[str, str] | None = None, **texts: str) -> ProjectFacts:
    return ProjectFacts(
        folder="/x", files=("main.py",), texts=texts, scripts={"main.py": False}, binder=binder, post_build=post_build
    )


def plan(path: str, text: str, *, ignore: tuple[str, ...] = ()) -> PostBuildStep:
    step = plan_post_build(facts(post_build=(path, text)), env=("A=1",), app="/app", ignore=ignore)
    assert step is not None
    return step


def test_start_wraps_the_command_by_what_its_first_line_names() -> None:
    command = ("python", "main.py")
    assert wrap_command(facts(), command, app="/app", ignore=()) == command
    found = facts(".binder", start='#!/bin/bash -l\nexec "$@"\n')
    assert wrap_command(found, command, app="/app", ignore=()) == ("/bin/bash", "-l", "/app/.binder/start", *command)
    assert wrap_command(facts(start="exec"), command, app="/app", ignore=()) == ("/bin/sh", "/app/start", *command)


@pytest.mark.parametrize(
    ("text", "args"),
    [
        ("#!/bin/bash\nset -e\n", ("/bin/bash", "./binder/postBuild")),
        ("#! /usr/bin/env -S bash -e\n", ("/usr/bin/env", "-S bash -e", "./binder/postBuild")),
        ("echo 1\n", ("/bin/sh", "./binder/postBuild")),
        ("#!\n", ("/bin/sh", "./binder/postBuild")),
        ("", ("/bin/sh", "./binder/postBuild")),
    ],
)
def test_a_script_is_run_as_the_kernel_would(text: str, args: tuple[str, ...]) -> None:
    step = plan("binder/postBuild", text)
    assert (step.args, step.env, step.workdir, step.what) == (args, ("A=1",), "/app", "run binder/postBuild")


def test_a_script_that_cannot_run_is_refused() -> None:
    for ignore in (("binder",), ("*.sh", "binder/postBuild"), ("binder/*",)):
        with pytest.raises(CarboyError, match="binder/postBuild is to run in the image, and what is left out"):
            plan("binder/postBuild", "", ignore=ignore)
    plan("binder/postBuild", "", ignore=("binder/*", "!binder/postBuild"))
    with pytest.raises(CarboyError, match="Windows"):
        plan("postBuild", "#!/bin/bash\r\n")
    with pytest.raises(CarboyError, match=r"start is to run in the image"):
        wrap_command(facts(start=""), ("x",), app="/app", ignore=("start",))


def test_the_last_step_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text("")
    (tmp_path / "postBuild").write_text("echo 1\n")
    (tmp_path / "setup.sh").write_text("echo 2\n")
    assert [type(step) for step in plan_project(read_project(str(tmp_path))).steps[-3:]] == [
        FilesStep,
        PostBuildStep,
        ConfigStep,
    ]
    before = plan_project(read_project(str(tmp_path))).describe()[-2]
    assert before.what == "run postBuild"
    (tmp_path / "postBuild").write_text("echo 3\n")
    assert plan_project(read_project(str(tmp_path))).describe()[-2].key != before.key
    for setting, path in (('"setup.sh"', "setup.sh"), ("false", None)):
        (tmp_path / "carboy.toml").write_text(f"[build]\npost-build = {setting}\n")
        found = read_project(str(tmp_path)).post_build
        assert (found[0] if found is not None else None) == path
    for setting in ('"none.sh"', "true", '""', '"../x"', '"/x"'):
        (tmp_path / "carboy.toml").write_text(f"[build]\npost-build = {setting}\n")
        with pytest.raises(CarboyError, match=r"carboy.toml: build.post-build"):
            read_project(str(tmp_path))
    (tmp_path / "carboy.toml").unlink()
    (tmp_path / ".binder").mkdir()
    assert read_project(str(tmp_path)).post_build is None
    (tmp_path / ".binder" / "postBuild").write_text("echo 4\n")
    assert read_project(str(tmp_path)).post_build == (".binder/postBuild", "echo 4\n")


def test_what_to_do_about_a_script_that_failed() -> None:
    assert "requirements.txt" in advise(["./postBuild: 3: pip: not found"], 127)
    assert "apt.txt" in advise(["./postBuild: 2: git: not found"], 127)
    assert "name servers" in advise(["curl: (6) Could not resolve host: example.org"], 6)
    assert "memory" in advise([], 137)
    assert "comes from the cache" in advise(["no"], 1)
