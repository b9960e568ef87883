"""Folders for another processor: what uv calls it, and what is not built for it."""

from __future__ import annotations

import pytest

from carboy.build.folder.foreign import find_foreign, name_machine
from carboy.build.plan import plan_project
from carboy.build.project import ProjectFacts
from carboy.errors import CarboyError
from carboy.oci.platform import Platform

HERE = Platform.current()
OTHER = Platform(os="linux", architecture="arm64" if HERE.architecture == "amd64" else "amd64")
RENV = '{"R": {"Version": "4.2.2"}, "Packages": {"jsonlite": {"Package": "jsonlite", "Version": "1.8.4"}}}'


def facts(**texts: str) -> ProjectFacts:
    files = {name.replace("__", "."): text for name, text in texts.items()}
    scripts = {name: False for name in files if name.endswith(".py")}
    return ProjectFacts(folder="/f", files=tuple(sorted(files)), texts=files, scripts=scripts)


def test_wheels_are_for_the_libc_of_the_base() -> None:
    arm = Platform(os="linux", architecture="arm64", variant="v8")
    assert name_machine(arm, base="debian:bookworm") == "aarch64-manylinux_2_36"
    assert name_machine(Platform(os="linux", architecture="amd64"), base="debian:bullseye") == "x86_64-manylinux_2_31"
    with pytest.raises(CarboyError, match="no wheels for it"):
        name_machine(Platform(os="linux", architecture="s390x"), base="debian:bookworm")


def test_this_machine_is_no_other() -> None:
    assert find_foreign(None) is find_foreign(HERE) is None
    assert find_foreign(OTHER) == OTHER
    plan = plan_project(facts(main__py="", requirements__txt="numpy\n"), platform=HERE)
    assert plan == plan_project(facts(main__py="", requirements__txt="numpy\n"))


@pytest.mark.parametrize(
    ("asked", "who"),
    [
        (facts(main__R="", renv__lock=RENV), "a folder with R "),
        (facts(main__py="", environment__yml="dependencies: [python, pip]\n"), "a folder with conda's packages "),
    ],
)
def test_what_needs_a_machine_of_its_kind_is_refused(asked: ProjectFacts, who: str) -> None:
    with pytest.raises(CarboyError, match=f"^{who}is built for this machine's processor alone, and {OTHER} "):
        plan_project(asked, platform=OTHER)
