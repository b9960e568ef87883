"""repo2docker's ``start`` wraps the command; its ``postBuild`` is told of."""

from __future__ import annotations

from carboy.build.folder.binder import explain_post_build, wrap_command
from carboy.build.project import ProjectFacts


def facts(binder: str = "", **texts: str) -> ProjectFacts:
    return ProjectFacts(folder="/x", files=("main.py",), texts=texts, scripts={"main.py": False}, binder=binder)


def test_start_wraps_the_command_by_what_its_first_line_names() -> None:
    command = ("python", "main.py")
    assert wrap_command(facts(), command, app="/app") == command
    found = facts(".binder", start='#!/bin/bash -l\nexec "$@"\n')
    assert wrap_command(found, command, app="/app") == ("/bin/bash", "-l", "/app/.binder/start", *command)
    assert wrap_command(facts(start="exec"), command, app="/app") == ("/bin/sh", "/app/start", *command)


def test_what_is_not_run_is_said() -> None:
    assert explain_post_build(facts()) == ()
    [note] = explain_post_build(facts("binder", postBuild="#!/bin/sh\n"))
    assert note.startswith("binder/postBuild is not run")
