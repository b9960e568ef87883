"""A Pipfile without its lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.environments.detect.choose import choose_wants, list_findings
from carboy.environments.detect.pipfile import parse_pipfile
from carboy.environments.detect.sources import PLACE
from carboy.errors import CarboyError

SAMPLE = Path(__file__).parents[2] / "projects" / "pipenv" / "Pipfile"


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ('"*"', "a"),
        ('">=1.2,<2"', "a>=1.2,<2"),
        ('"1.2"', "a==1.2"),
        ('"~=1.2"', "a~=1.2"),
        ('{version = "==1.2", extras = ["x", "y"]}', "a[x,y]==1.2"),
        ("{version = \"*\", sys_platform = \"== 'win32'\"}", "a ; sys_platform == 'win32'"),
        (
            "{version = \"*\", markers = \"python_version < '3' or os_name == 'nt'\", python_version = \">= '3.9'\"}",
            "a ; (python_version < '3' or os_name == 'nt') and python_version >= '3.9'",
        ),
        ('{git = "https://example.org/x.git", ref = "main", subdirectory = "s", editable = true}',
         "a @ git+https://example.org/x.git@main#subdirectory=s"),
        ('{path = "./libs/own", editable = true}', f"a @ file://{PLACE}/libs/own.folder.tar.gz"),
        ('{path = "."}', f"a @ file://{PLACE}/..folder.tar.gz"),
        ('{file = "https://example.org/a-1.tar.gz"}', "a @ https://example.org/a-1.tar.gz"),
    ],
)  # fmt: skip
def test_a_package_is_a_requirement(item: str, line: str) -> None:
    found = parse_pipfile(f"[packages]\na = {item}\n[dev-packages]\nb = '*'\n")
    assert found is not None
    assert found.requirements == (line,)


def test_sources_are_options_and_the_public_one_is_the_machines_own() -> None:
    public = '[[source]]\nname = "pypi"\nurl = "https://public.example/simple"\nverify_ssl = true\n'
    own = '[[source]]\nname = "own"\nurl = "https://example.org/simple"\n'
    packages = '[packages]\na = "*"\n'
    for text, options in (
        (public + packages, ()),
        (own + packages, ("--index-url https://example.org/simple",)),
        (public + own + packages, ("--extra-index-url https://example.org/simple",)),
    ):
        found = parse_pipfile(text)
        assert found is not None
        assert found.requirements == (*options, "a")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[packages", "Pipfile"),
        ("packages = 3", "packages is not a table"),
        ('[packages]\n"a b" = "*"', "'a b' is no name"),
        ('[packages]\na = "*; rm"', "no version that pip knows"),
        ('[packages]\na = "==1\\n-e ."', "no version that pip knows"),
        ('[packages]\na = {hg = "https://example.org/x"}', "only git is known"),
        ('[packages]\na = {path = "../x"}', "outside of the folder"),
        ('source = [{url = "https://example.org/\\n--pre"}]\n[packages]\na = "*"', "a source has no url"),
        ('source = [1]\n[packages]\na = "*"', "a source has no url"),
    ],
)
def test_what_cannot_be_read_is_named(text: str, said: str) -> None:
    with pytest.raises(CarboyError, match=said):
        parse_pipfile(text)


@pytest.mark.parametrize("text", ['{"default": ["a"]}', '{"default": 1}', "[]"])
def test_a_lock_without_a_table_of_packages_is_no_empty_one(text: str) -> None:
    with pytest.raises(CarboyError, match=r"Pipfile\.lock"):
        choose_wants({"Pipfile.lock": text})


def test_a_lock_goes_before_it_and_requirements_beside_it_are_a_conflict() -> None:
    text = SAMPLE.read_text()
    wants = choose_wants({"Pipfile": text})
    assert wants is not None
    assert (wants.file, wants.python) == ("Pipfile", "3.11")
    assert wants.requirements.splitlines()[1:] == ["click>=8", "tabulate", "tzdata ; sys_platform == 'win32'"]
    assert [item.used for item in list_findings(["Pipfile"], wants)] == [True]
    lock = SAMPLE.with_name("Pipfile.lock").read_text()
    locked = choose_wants({"Pipfile": text, "Pipfile.lock": lock})
    assert locked is not None
    assert (locked.file, locked.python) == ("Pipfile.lock", "3.11")
    with pytest.raises(CarboyError, match=r"both Pipfile and requirements.txt"):
        choose_wants({"Pipfile": text, "requirements.txt": "click\n"})
    named = choose_wants({"Pipfile": text, "requirements.txt": "click\n"}, named="requirements.txt")
    assert named is not None
    assert named.file == "requirements.txt"
    empty = choose_wants({"Pipfile": "[packages]\n", "requirements.txt": "click\n"})
    assert empty is not None
    assert empty.file == "requirements.txt"
