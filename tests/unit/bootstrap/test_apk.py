"""Alpine's archives: the order of versions, which packages a base needs, and the database that apk goes on with."""

from __future__ import annotations

import hashlib
import io
import tarfile
from typing import TYPE_CHECKING

import pytest
from alpine import ApkArchive, make_data
from archives import File
from hypothesis import given
from hypothesis import strategies as st

from carboy.bootstrap.apk.configure import plan_script
from carboy.bootstrap.apk.database import format_checksum, list_files
from carboy.bootstrap.apk.index import PackageIndex, parse_index, parse_relation
from carboy.bootstrap.apk.resolve import ALWAYS, plan_world, resolve
from carboy.bootstrap.apk.state import name_branch
from carboy.bootstrap.apk.unpack import UnpackReport, iter_tree_tar
from carboy.bootstrap.apk.version import is_satisfied, is_version, version_key
from carboy.bootstrap.errors import ArchiveDataError, RecipeError, ResolveError
from carboy.bootstrap.recipe import parse_recipe

if TYPE_CHECKING:
    from pathlib import Path

# As apk-tools' own test has it (test/version.data), from old to new.
ASCENDING = [
    "0.0.1", "0.1.0_alpha_pre2", "0.1.0_alpha", "0.1.0_alpha1", "0.1.0_beta", "0.1.0_rc1", "0.1.0_rc1_git20230101", "0.1.0",
    "0.1.0-r1", "0.1.0_git20200101", "0.1.0_p1", "0.1.0a", "0.1.0.1", "0.1.05", "0.1.1", "0.1.5", "0.1.10", "0.9", "0.10", "1",
    "1.2.3-r0", "1.2.3-r10", "1.2.3b", "1.3", "20050718", "20060512",
]  # fmt: skip
numbers = st.lists(st.integers(0, 30), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
versions = st.tuples(
    numbers,
    st.sampled_from(["", "a", "b"]),
    st.sampled_from(["", "_rc1", "_alpha", "_p2", "_git1"]),
    st.integers(-1, 3),
).map(lambda one: "".join(one[:3]) + (f"-r{one[3]}" if one[3] >= 0 else ""))


def test_versions_in_order() -> None:
    mixed = ASCENDING[::2] + ASCENDING[1::2]
    assert sorted(mixed, key=version_key) == ASCENDING


@given(left=versions, right=versions)
def test_an_order_has_one_answer(left: str, right: str) -> None:
    assert is_satisfied(left, "<", right) == is_satisfied(right, ">", left)
    assert is_satisfied(left, "<=", right) != is_satisfied(left, ">", right)
    assert is_satisfied(left, "=", left)
    assert is_satisfied(left, "~", left)


@pytest.mark.parametrize(
    ("version", "relation", "wanted", "answer"),
    [
        ("1.2.3-r4", "~", "1.2", True),
        ("1.20", "~", "1.2", False),
        ("1.3", ">~", "1.2", True),
        ("1.2.9", "<~", "1.2", True),
        ("1.3", "<~", "1.2", False),
        ("1.2", "", "", True),
    ],
)
def test_relations(version: str, relation: str, wanted: str, answer: bool) -> None:
    assert is_satisfied(version, relation, wanted) is answer


@pytest.mark.parametrize("text", ["", "a", "1.", "1..2", "1_foo", "1-r", "1-r1-r2", "1 2", "1.2.3/../x", "9" * 50])
def test_what_is_no_version(text: str) -> None:
    assert not is_version(text)


def block(name: str, version: str = "1-r0", **fields: str) -> str:
    values = {"C": "Q1" + "A" * 27 + "=", "P": name, "V": version, "A": "x86_64", "S": "10", "I": "1", **fields}
    return "".join(f"{key}:{value}\n" for key, value in values.items())


def index(*blocks: str) -> PackageIndex:
    return PackageIndex(parse_index("\n".join(blocks), uri="http://a.example", architecture="x86_64"))


def names(found: PackageIndex, *world: str) -> list[str]:
    return [package.name for package in resolve(found, world)]


def test_what_is_needed_comes_before_who_needs_it() -> None:
    found = index(
        block("tool", D="so:libz.so.1 /bin/sh musl>=1.2"),
        block("zlib", p="so:libz.so.1=1.3", D="so:libc.so=1"),
        block("musl", "1.2.5-r0", p="so:libc.so=1"),
        block("musl", "1.1-r0"),
        block("busybox-binsh", p="/bin/sh", k="100"),
        block("other-binsh", p="/bin/sh", k="60"),
        block("unwanted"),
        block("foreign", A="aarch64"),
    )
    assert names(found, "tool") == ["busybox-binsh", "musl", "zlib", "tool"]
    assert not found.find("foreign")


def test_a_package_of_that_name_goes_before_what_provides_it() -> None:
    found = index(block("awk-x", p="awk=9", k="500"), block("awk"))
    assert names(found, "awk") == ["awk"]


def test_install_if_brings_packages_when_all_of_it_holds() -> None:
    found = index(
        block("a"), block("b"), block("a-b", i="a b"), block("a-b-doc", i="a-b=1-r0 !c"), block("a-z", i="a z")
    )
    assert names(found, "a") == ["a"]
    assert names(found, "a", "b") == ["a", "a-b", "a-b-doc", "b"]


@pytest.mark.parametrize(
    ("blocks", "world", "reason"),
    [
        ([block("a", D="gone")], "a", "the archive has no such package"),
        ([block("a", D="b>2"), block("b")], "a", "b>2: a needs it, but the archive has 1-r0"),
        ([block("a", D="!b c"), block("b"), block("c", D="b")], "a", "a 1-r0 refuses b"),
        ([block("a", D="virtual"), block("x", p="virtual"), block("y", p="virtual")], "a", "name one of x, y"),
        ([block("busybox")], "busybx", "is it busybox?"),
        ([block("a", p="one=1"), block("b", p="one=1")], "a b", "both are one"),
    ],
)
def test_what_cannot_be_is_explained(blocks: list[str], world: str, reason: str) -> None:
    with pytest.raises(ResolveError) as caught:
        resolve(index(*blocks), world.split())
    assert any(reason in issue for issue in caught.value.issues), caught.value.issues


def test_the_world_is_what_was_asked_for() -> None:
    found = index(*(block(name) for name in (*ALWAYS, "alpine-release", "curl")))
    assert plan_world(found, ("curl",)) == tuple(sorted([*ALWAYS, "alpine-release", "curl"]))


@pytest.mark.parametrize(
    "text",
    [
        block("../x"),
        block("a/b"),
        block("a", "1/../2"),
        block("a", C="Q1xx"),
        block("a", C="Q2" + "A" * 27 + "="),
        block("a", S="-1"),
        block("a", S=str(2**60)),
        block("a", k="x"),
        "P:a\n",
    ],
)
def test_a_wrong_index_is_refused(text: str) -> None:
    with pytest.raises(ArchiveDataError):
        parse_index(text, uri="http://a.example", architecture="x86_64")


@pytest.mark.parametrize("text", ["b>", "b><Q1x", "b=1.x/y", "@"])
def test_a_dependency_that_cannot_be_read_counts_where_it_is_needed(text: str) -> None:
    found = index(block("a", D=text), block("b"))
    assert names(found, "b") == ["b"]
    with pytest.raises(ArchiveDataError):
        names(found, "a")


def test_relations_as_they_are_written() -> None:
    assert str(parse_relation("!uclibc-utils")) == "!uclibc-utils"
    relation = parse_relation("so:libssl.so.3>=3.0_rc1-r1")
    assert (relation.name, relation.relation, relation.version) == ("so:libssl.so.3", ">=", "3.0_rc1-r1")


def test_names_of_branches_and_architectures() -> None:
    assert [name_branch(suite) for suite in ("3.20", "edge", "latest-stable")] == ["v3.20", "edge", "latest-stable"]
    assert parse_recipe("alpine:3.20", architecture="arm64").architecture == "aarch64"
    assert parse_recipe("alpine:3.20", packages=("so:libz.so.1", "curl>8", "py3-numpy~1.26")).suite == "3.20"
    with pytest.raises(RecipeError):
        parse_recipe("alpine:3.20", packages=("a b",))


@pytest.fixture
def archive(tmp_path: Path) -> ApkArchive:
    (tmp_path / "a").mkdir()
    return ApkArchive(tmp_path / "a")


def unpack(archive: ApkArchive) -> tuple[UnpackReport, bytes]:
    packages = parse_index("\n".join(archive.blocks), uri=str(archive.place()), architecture="x86_64")
    report = UnpackReport()
    return report, b"".join(iter_tree_tar(packages, lambda package: package.url, report, list, mtime_s=1))


@pytest.mark.slow
def test_the_database_is_as_apk_writes_it(archive: ApkArchive) -> None:
    files = {
        "usr/bin": File(mode=0o755, kind=tarfile.DIRTYPE),
        "usr/bin/tool": File(b"x", mode=0o4755),
        "usr/bin/link": File(link="tool"),
        "var/lib/tool": File(mode=0o750, kind=tarfile.DIRTYPE, uid=42),
        "etc/conf": File(b"conf"),
    }
    scripts = {"post-install": "#!/bin/sh\n", "trigger": "#!/bin/sh\n"}
    info = ["triggers = /usr/bin /usr/share/*", "replaces = old"]
    archive.add(
        "tool", files, version="1.0-r3", scripts=scripts, info=info, index={"D": "musl", "p": "cmd:tool=1.0-r3"}
    )
    report, tar = unpack(archive)
    with tarfile.open(fileobj=io.BytesIO(tar)) as found:
        assert set(found.getnames()) == set(files)
    database = {path: (content, mode) for path, content, mode in list_files(report.packages, mtime_s=1)}
    checksum = archive.blocks[0].partition("\n")[0].removeprefix("C:")
    lines = database[b"lib/apk/db/installed"][0].decode().splitlines()
    size = archive.blocks[0].split("S:")[1].split("\n")[0]

    def content(data: bytes) -> str:
        return f"Z:{format_checksum(hashlib.sha1(data, usedforsecurity=False).digest())}"

    assert lines == [
        f"C:{checksum}", "P:tool", "V:1.0-r3", "A:x86_64", f"S:{size}", "I:1", "T:tool", "U:x", "L:MIT", "t:1700000000",
        "D:musl", "p:cmd:tool=1.0-r3", "r:old",
        "F:etc", "R:conf", content(b"conf"),
        "F:usr/bin", "R:tool", "a:0:0:4755", content(b"x"), "R:link", content(b"tool"),
        "F:var/lib/tool", "M:42:42:750",
        "",
    ]  # fmt: skip
    assert database[b"lib/apk/db/triggers"][0].decode() == f"{checksum} /usr/bin /usr/share/*\n"
    with tarfile.open(fileobj=io.BytesIO(database[b"lib/apk/db/scripts.tar"][0])) as found:
        assert found.getnames() == [f"tool-1.0-r3.{checksum}.post-install", f"tool-1.0-r3.{checksum}.trigger"]
    script = plan_script(report.packages)
    assert "script tool post-install 1.0-r3\n" in script
    assert "script tool trigger /usr/bin\n" in script


@pytest.mark.slow
def test_names_in_scripts_are_quoted(archive: ApkArchive) -> None:
    """A file's name is data, whatever it holds, also where a shell sees it."""
    path = "srv/$(touch x)'; rm -rf /"
    archive.add("tool", {}, data=make_data({path: File(b"x")}, names={path: "somebody"}))
    report, _ = unpack(archive)
    assert "chown -h somebody:somebody -- '/srv/$(touch x)'\"'\"'; rm -rf '\n" in plan_script(report.packages)
