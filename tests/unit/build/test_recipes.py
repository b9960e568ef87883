"""The table of bases: which names carboy makes, of what, and what it refuses in a table."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carboy.bootstrap.archive import ArchiveConfig, check_keyrings, choose_source, read_archive_config
from carboy.bootstrap.deb.make import format_sources
from carboy.bootstrap.distributions import DISTRIBUTIONS
from carboy.bootstrap.errors import BootstrapError, RecipeError
from carboy.bootstrap.recipe import ArchiveSettings, Recipe, parse_recipe
from carboy.bootstrap.sources import Source
from carboy.build.solver.names import check_pattern, expand_pattern, fits
from carboy.build.solver.recipes import Bases
from carboy.errors import CarboyError
from carboy.oci.reference import Reference

if TYPE_CHECKING:
    from pathlib import Path


def find(name: str, home: str = "/nowhere") -> str:
    recipe = Bases(home).find(Reference.parse(name))
    return "" if recipe is None else " ".join([recipe.base, *recipe.packages])


@pytest.mark.parametrize(
    ("name", "base"),
    [
        ("debian", "debian:trixie"),
        ("debian:12", "debian:bookworm"),
        ("debian:bookworm-slim", "debian:bookworm"),
        ("docker.io/library/debian:stable-slim", "debian:trixie"),
        ("debian:oldstable", "debian:bookworm"),
        ("ubuntu:24.04", "ubuntu:noble"),
        ("ubuntu", "ubuntu:noble"),
        ("alpine:3.20", "alpine:3.20"),
        ("alpine", "alpine:3.23"),
        ("python:3.11-slim", "debian:bookworm"),
        ("python:3.11.2-slim-bookworm", "debian:bookworm"),
        ("python:3-slim", "debian:trixie"),
        ("r-base:4.2.2", "debian:bookworm"),
        ("r-base", "debian:trixie"),
        ("rocker/r-ver:4.2", "debian:bookworm"),
    ],
)
def test_names_that_are_made(name: str, base: str) -> None:
    assert find(name).split(" ", 1)[0] == base


def test_what_images_of_languages_have() -> None:
    assert "python3-pip" in find("python:3.11-slim-bookworm").split()
    assert find("python:slim") == find("python:latest")
    assert find("rocker/r-ver:4.2.2").split()[1:] == ["ca-certificates", "r-base-core", "r-base-dev", "r-recommended"]


@pytest.mark.parametrize(
    "name",
    [
        "debian:12.4",
        "debian:bookworm-20240110",
        "python:3.12",
        "debian:sid",
        "python:3.11-trixie",
        "python:3.11-alpine",
        "r-base:4.3.1",
        "ubuntu:18.04",
        "alpine:3.20.3",
        "somebody/debian:12",
        "quay.io/library/debian:12",
        f"debian@sha256:{'a' * 64}",
    ],
)
def test_names_that_are_not_made(name: str) -> None:
    assert find(name) == ""


def test_a_version_that_cannot_be_had_names_those_of_its_image() -> None:
    names = Bases("/nowhere").list_names(Reference.parse("rocker/r-ver:9"))
    assert "rocker/r-ver:4.2.2" in names
    assert all(name.startswith("rocker/r-ver:") for name in names)
    assert "ubuntu:24.04" in Bases("/nowhere").list_names(Reference.parse("nobody/nothing"))


def test_the_homes_table_comes_first(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text(
        '[archives.debian]\nmirror = "http://a.example/debian"\nsecurity = false\n'
        '[bases."debian:12"]\nfrom = "debian:trixie"\npackages = ["curl"]\nuser = "1000"\n'
        '[bases."reg.example:5000/x/base"]\nfrom = "ubuntu:plucky"\nkeyring = "/k.gpg"\nmirror = "http://u.example"\n'
    )
    assert find("debian:12", str(tmp_path)) == "debian:trixie curl"
    recipe = Bases(str(tmp_path)).find(Reference.parse("debian:11"))
    assert recipe is not None
    assert recipe.archive == ArchiveSettings(mirror="http://a.example/debian", security=False)
    own = Bases(str(tmp_path)).find(Reference.parse("reg.example:5000/x/base:any"))
    assert own is not None
    # A suite that carboy does not know, of an archive whose keys somebody named.
    assert (own.base, own.archive.mirror, own.archive.keyrings) == ("ubuntu:plucky", "http://u.example", ("/k.gpg",))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[bases."a:1"]\n', "from does not name a distribution"),
        ('[bases."a:1"]\nfrom = "suse:15"\n', "from does not name a distribution"),
        ('[bases."a:{1,2"]\nfrom = "debian:12"\n', "not a pattern"),
        ('[bases."a:{1,{2}}"]\nfrom = "debian:12"\n', "not a pattern"),
        ('[bases."a:1"]\nfrom = "debian:12"\npackages = "curl"\n', "packages must be a list"),
        ('[bases."a:1"]\nfrom = "debian:12"\npakages = []\n', "there is no 'pakages'"),
        ('[bases."a:1"]\nfrom = "debian:12"\nenv = ["A=b"]\n', "env must be a table"),
        ('[bases."a:1"]\nfrom = "debian:12"\npackages = ["a b"]\n', "not a package name"),
        ('[bases."a:1"]\nfrom = "debian:potato"\n', "unknown suite"),
        ('[archives.suse]\nmirror = "x"\n', "no such distribution"),
        ('[archives.debian]\nsecurity = "no"\n', "security must be true or false"),
        ("bases = 1\n", "bases must be a table"),
        ("[base]\n", "there is no setting 'base'"),
    ],
)
def test_a_wrong_table_says_what_and_where(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(CarboyError) as caught:
        Bases(str(tmp_path)).find(Reference.parse("a:1"))
    assert says in str(caught.value)
    assert "config.toml" in f"{caught.value} {caught.value.details}"


def test_patterns_of_tags() -> None:
    assert expand_pattern("{a,b}{,-slim}") == ["a", "a-slim", "b", "b-slim"]
    assert fits("3.11-x", "3.*")
    assert not fits("3", "3.*")
    with pytest.raises(CarboyError):
        check_pattern("{1,2,3,4,5,6,7,8}" * 4, "here")


def test_ubuntus_archives() -> None:
    recipe = parse_recipe("ubuntu:24.04", architecture="arm64")
    assert recipe.suite == "noble"
    settings = ArchiveSettings(keyrings=("/k.gpg",))
    archive = read_archive_config(
        {"CARBOY_MIRROR": "http://d.example/debian"}, "/nowhere", recipe=recipe, settings=settings
    )
    assert archive.mirror == "http://ports.ubuntu.com/ubuntu-ports"
    assert [(suite.uri, suite.name) for suite in archive.plan_suites(recipe)] == [
        (archive.mirror, f"noble{ending}") for ending in ("", "-updates", "-security")
    ]
    text = format_sources(recipe, archive).decode()
    assert "URIs: http://ports.ubuntu.com/ubuntu-ports\nSuites: noble noble-updates noble-security\n" in text
    assert "Components: main universe\nSigned-By: /usr/share/keyrings/ubuntu-archive-keyring.gpg\n" in text


def test_a_hosts_sources_are_of_one_distribution() -> None:
    hosts = [
        Source(uri="http://d.example/debian", suite="bookworm", components=("main",)),
        Source(uri="http://u.example/ubuntu", suite="noble", components=("main", "universe")),
        Source(uri="http://s.example/ubuntu", suite="noble-security", components=("main",)),
    ]
    known = DISTRIBUTIONS["ubuntu"]
    assert choose_source(hosts, "noble", known=known) == hosts[1]
    assert choose_source(hosts, "noble", kind="-security", known=known) == hosts[2]
    assert choose_source(hosts, "bookworm") == hosts[0]
    assert choose_source(hosts[1:], "bookworm") is None


def test_debian_stays_what_it_was() -> None:
    recipe = Recipe(suite="12")
    assert (recipe.suite, recipe.architecture) == ("bookworm", "amd64")
    suites = ArchiveConfig(mirror="http://a/debian").plan_suites(recipe)
    assert [suite.url for suite in suites] == [
        "http://a/debian/dists/bookworm",
        "http://a/debian/dists/bookworm-updates",
        "http://a/debian-security/dists/bookworm-security",
    ]


def test_keys_that_are_not_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.path.exists", lambda _: False)
    recipe = parse_recipe("ubuntu:22.04")
    archive = read_archive_config({}, "/nowhere", recipe=recipe)
    with pytest.raises(BootstrapError, match="keys that Ubuntu's archive is signed with") as caught:
        check_keyrings(archive, recipe.known)
    assert "ubuntu-keyring" in caught.value.hint


@pytest.mark.parametrize("base", ["ubuntu:potato", "suse:15", "debian:../x"])
def test_what_is_not_known_is_named(base: str) -> None:
    with pytest.raises(RecipeError):
        parse_recipe(base)
