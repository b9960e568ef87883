"""``carboy volume``: folders that outlive containers, in each tier."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from containers import Containers
from small_image import SMALL

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


@pytest.fixture
def containers(containers: Containers) -> Iterator[Containers]:
    """Return the maker that all tests have; its volumes go, too."""
    yield containers
    containers.remove_all()
    names = containers.carboy("volume", "ls", "-q", "--filter", f"name={containers.prefix}").stdout.split()
    if names:
        containers.carboy("volume", "rm", *names)


def test_the_life_of_a_volume(containers: Containers) -> None:
    carboy, name = containers.carboy, containers.name("data")
    other = containers.name("other")
    assert carboy("volume", "create", "--label", "team=x y", name).stdout == f"{name}\n"
    assert carboy("volume", "create", name).stdout == f"{name}\n"
    carboy("run", "--rm", "-v", f"{name}:/data", SMALL, "sh", "-c", "echo kept > /data/file; chown 1:1 /data/file")
    assert carboy("run", "--rm", "-v", f"{name}:/data:ro", SMALL, "cat", "/data/file").stdout == "kept\n"
    (described,) = json.loads(carboy("volume", "inspect", name).stdout)
    assert (described["Name"], described["Labels"], described["Containers"]) == (name, {"team": "x y"}, [])
    assert carboy("volume", "inspect", "-f", "{{.Driver}} {{.Scope}}", name).stdout == "local local\n"
    assert carboy("inspect", name).stdout == carboy("volume", "inspect", name).stdout
    carboy("volume", "create", other)
    mine = ("--filter", f"name={containers.prefix}")
    assert carboy("volume", "ls", "-q", *mine).stdout.split() == [name, other]
    assert [row["Name"] for row in json.loads(carboy("volume", "ls", "--json", *mine).stdout)] == [name, other]
    assert carboy("volume", "ls", *mine, "--filter", "label=team", "--format", "{{.Name}} {{.Labels}}").stdout == (
        f"{name} team=x y\n"
    )
    assert carboy("volume", "ls", *mine).stdout.splitlines()[0].split() == ["DRIVER", "VOLUME", "NAME"]
    done = carboy("volume", "rm", name, other)
    assert (done.stdout, done.stderr[:6]) == (f"{name}\n{other}\n", "freed ")
    assert "no such volume" in carboy("volume", "rm", name, expect=1).stderr
    carboy("volume", "rm", "-f", name)


def test_a_volume_that_a_container_has_stays(containers: Containers) -> None:
    carboy, name = containers.carboy, containers.name("used")
    user = containers.name("user")
    carboy("create", "--name", user, "-v", f"{name}:/data", SMALL, "true")
    refused = carboy("volume", "rm", "-f", name, expect=1).stderr
    assert "volume is in use" in refused
    assert user in refused
    mine = ("--filter", f"name={containers.prefix}", "-q")
    assert carboy("volume", "ls", *mine, "--filter", "dangling=false").stdout.split() == [name]
    assert carboy("volume", "ls", *mine, "--filter", "dangling=true").stdout == ""
    carboy("rm", user)
    assert carboy("volume", "rm", name).stdout == f"{name}\n"


def test_prune_takes_what_nobody_named_and_nobody_has(containers: Containers) -> None:
    carboy, name = containers.carboy, containers.name("named")
    label = f"mark={containers.prefix}"  # others' volumes in the same home stay
    carboy("volume", "create", "--label", label, name)
    unnamed = carboy("volume", "create", "--label", label).stdout.strip()
    assert len(unnamed) == 64
    pruned = carboy("volume", "prune", "-f", "--filter", f"label={label}")
    assert (pruned.stdout, pruned.stderr[:6]) == (f"{unnamed}\n", "freed ")
    pruned = carboy("volume", "prune", "-a", "--filter", f"label={label}")
    assert pruned.stdout == f"{name}\n"


def test_a_volume_s_bytes_are_counted(containers: Containers) -> None:
    carboy, name = containers.carboy, containers.name("large")
    script = "head -c 3000000 /dev/zero > /data/file; chmod 700 /data"
    carboy("run", "--rm", "-v", f"{name}:/data", "-u", "0", SMALL, "sh", "-c", script)
    assert "freed 3" in carboy("volume", "rm", name).stderr


@pytest.mark.parametrize(
    ("words", "status", "text"),
    [
        ((), 2, "say what to do with volumes"),
        (("make",), 2, "say what to do with volumes"),
        (("create", "a/b"), 1, "includes invalid characters"),
        (("create", "x"), 1, "too short"),
        (("create", "--label", "=x"), 2, "a label needs a name"),
        (("ls", "--filter", "size=3"), 2, "there is no filter"),
        (("inspect", "nobody-s"), 1, "no such volume"),
    ],
)
def test_bad_input(small_root_carboy: Any, words: tuple[str, ...], status: int, text: str) -> None:
    assert text in small_root_carboy("volume", *words, expect=status).stderr
