"""Bundles: the same files make the same bytes, and what is wrong with one is refused before it is used."""

from __future__ import annotations

import hashlib
import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec.structs import replace as replace_fields

from carboy.base.home import open_home
from carboy.build.bundles.archive import take_bundle, write_bundle
from carboy.build.bundles.kinds import (
    BaseSource,
    BundledCondaPackage,
    BundledFile,
    BundledPackage,
    CondaSource,
    PythonSource,
    RepositorySource,
    RSource,
    Source,
    digest_wants,
    pack_conda,
    unpack_conda,
)
from carboy.build.bundles.manifest import NAME, make_manifest, parse_manifest
from carboy.build.bundles.offline import Offline, find_places
from carboy.errors import CarboyError
from carboy.layers.tarread import REGULAR, SYMLINK, Member
from carboy.layers.tarwrite import TarWriter

if TYPE_CHECKING:
    from carboy.base.home import Home

DEB, WHEEL = b"a package of Debian's", b"a wheel" * 1000


def hash_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def sources(**changes: Any) -> tuple[Source, ...]:
    base = BaseSource(
        base="debian:bookworm",
        packages=("python3",),
        architecture="amd64",
        texts={"bookworm": hash_of(DEB)},
        files=(BundledFile(name=hash_of(DEB), sha256=hash_of(DEB), size=len(DEB)),),
    )
    package = BundledPackage(
        name="a-b",
        version="1.0",
        requirement=changes.get("requirement", f"a_b==1.0 --hash=sha256:{hash_of(WHEEL)}"),
        size=len(WHEEL),
        built=False,
    )
    name = changes.get("name", "a_b-1.0-py3-none-any.whl")
    python = PythonSource(
        wants=digest_wants("a_b\n", "", ""),
        packages=(package,),
        files=(BundledFile(name=name, sha256=hash_of(WHEEL), size=changes.get("size", len(WHEEL))),),
    )
    return base, python


def conda_package(sha256: str) -> BundledCondaPackage:
    line = f"a 1 ours/noarch/a-1-0.conda sha256:{sha256}"
    return BundledCondaPackage(line=line, size=3, depends=("b >=1",), constrains=(), build_number=2)


def by_address() -> BundledPackage:
    line = f"far @ https://example.org/0123abc.zip --hash=sha256:{'0' * 64}"
    return BundledPackage(name="far", version="1", requirement=line, size=3, built=True)


def repository(commit: str, *, name: str = "0" * 64, files: tuple[BundledFile, ...] | None = None) -> RepositorySource:
    one = (BundledFile(name=name, sha256="0" * 64, size=3),)
    url = "https://example.org/own"
    return RepositorySource(url=url, subdirectory="", ref="main", commit=commit, files=one if files is None else files)


def archive(manifest: bytes, members: list[tuple[str, bytes]]) -> io.BytesIO:
    out = io.BytesIO()
    writer = TarWriter(out)
    for name, data in [(NAME, manifest), *members]:
        writer.add(Member(name=name.encode(), kind=REGULAR, size=len(data)), data)
    writer.finish()
    out.seek(0)
    return out


def member(data: bytes) -> tuple[str, bytes]:
    return f"files/{hash_of(data)}", data


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def kept(home: Home) -> set[str]:
    return {path.name for path in Path(home.cache).rglob("*") if path.is_file()}


def test_the_same_files_make_the_same_bundle_and_come_back(tmp_path: Path, home: Home) -> None:
    files = {}
    for data in (WHEEL, DEB):
        path = tmp_path / hash_of(data)
        path.write_bytes(data)
        os.utime(path, (len(files), len(files)))
        files[hash_of(data)] = str(path)
    bundles = [io.BytesIO(), io.BytesIO()]
    assert write_bundle(make_manifest(sources()), files, bundles[0]) == len(DEB) + len(WHEEL)
    write_bundle(make_manifest(sources()), dict(reversed(files.items())), bundles[1])
    assert bundles[0].getvalue() == bundles[1].getvalue()
    for _ in range(2):  # the second time all is there
        bundles[0].seek(0)
        bundle = take_bundle(bundles[0], home=home)
        assert bundle.sources == sources()
        assert Path(home.cache, "archives", hash_of(DEB)).read_bytes() == DEB
        assert Path(home.cache, "packages", hash_of(WHEEL)).read_bytes() == WHEEL
    Path(home.cache, "packages", hash_of(WHEEL)).write_bytes(b"damaged")
    bundles[0].seek(0)
    take_bundle(bundles[0], home=home)
    assert Path(home.cache, "packages", hash_of(WHEEL)).read_bytes() == WHEEL


def test_a_file_that_was_changed_makes_no_bundle(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"other")
    with pytest.raises(CarboyError, match="is not what it was"):
        write_bundle(make_manifest(sources()), {hash_of(DEB): str(path)}, io.BytesIO())


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([member(DEB), (f"files/{hash_of(WHEEL)}", b"x" * len(WHEEL))], "is not what its list says"),
        ([member(DEB)], "1 files are missing"),
        ([member(DEB), member(WHEEL), member(b"more")], "that it does not name"),
        ([member(DEB), member(DEB)], "that it does not name"),
        ([member(DEB), (f"files/{hash_of(WHEEL)}", WHEEL + b"!")], "that it does not name"),
        ([("files/../../escaped", DEB)], "that it does not name"),
    ],
)
def test_what_is_not_as_announced_is_refused(members: list[tuple[str, bytes]], words: str, home: Home) -> None:
    with pytest.raises(CarboyError, match=words):
        take_bundle(archive(make_manifest(sources()), members), home=home)
    assert kept(home) <= {hash_of(DEB), hash_of(WHEEL)}  # whole files alone, under the names of what they are
    assert not list(Path(home.path).parent.rglob("escaped"))


def test_an_archive_that_is_cut_off_or_none_is_refused(home: Home) -> None:
    whole = archive(make_manifest(sources()), [member(DEB), member(WHEEL)]).getvalue()
    for data in (b"", b"no tar at all" * 100, whole[:300], whole[: len(whole) // 2]):
        with pytest.raises(CarboyError):
            take_bundle(io.BytesIO(data), home=home)
    linked = io.BytesIO()
    writer = TarWriter(linked)
    writer.add(Member(name=NAME.encode(), kind=SYMLINK, linkname=b"/etc/passwd"))
    writer.finish()
    linked.seek(0)
    with pytest.raises(CarboyError, match="no bundle"):
        take_bundle(linked, home=home)


def test_a_bundle_that_the_disk_cannot_take_is_refused_at_once(home: Home) -> None:
    huge = make_manifest(sources(size=200 * 2**40))
    with pytest.raises(CarboyError, match="list is wrong"):
        take_bundle(archive(huge, []), home=home)
    large = make_manifest(sources(size=255 * 2**30))
    if os.statvfs(home.cache).f_bavail * os.statvfs(home.cache).f_frsize < 255 * 2**30:
        with pytest.raises(CarboyError, match="no room"):
            take_bundle(archive(large, []), home=home)


@pytest.mark.parametrize(
    "change",
    [
        {"name": "../../home/.bashrc"},
        {"name": "a_b-1.0.exe"},
        {"name": "sub/a_b-1.0-py3-none-any.whl"},
        {"size": -1},
        {"requirement": f"a_b==1.0 --hash=sha256:{'0' * 64}\n--index-url http://example.org"},
        {"requirement": f"other==1.0 --hash=sha256:{'0' * 64}"},
        {"requirement": "a_b==1.0"},
    ],
)
def test_a_list_with_something_else_in_it_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(CarboyError, match="list is wrong"):
        parse_manifest(make_manifest(sources(**change)))


@pytest.mark.parametrize(
    "source",
    [
        RSource(wants="w", texts={"bookworm": "x"}, sources=(), files=()),
        RSource(wants="w", texts={}, sources=(f"glue 1.6.2 sha256:{'0' * 63}",), files=()),
        RSource(wants="w", texts={}, sources=(f"../glue 1.6.2 sha256:{'0' * 64}",), files=()),
        RSource(wants="w", texts={}, sources=(), files=(BundledFile(name="../x", sha256="0" * 64, size=1),)),
        CondaSource(wants="w", packages=(), files=(BundledFile(name="../a-1-0.conda", sha256="0" * 64, size=1),)),
        CondaSource(wants="w", packages=(conda_package("0" * 64),), files=()),  # whose file is missing
        PythonSource(wants="w", packages=(by_address(),), files=()),
        PythonSource(wants="w", packages=(), files=(), tools={"a": ("b @ https://example.org/b.whl",)}),
        repository("0" * 39),
        repository("0" * 40, files=()),
        repository("0" * 40, name="../x"),
    ],
)
def test_what_other_kinds_may_not_say(source: Source) -> None:
    with pytest.raises(CarboyError, match="the bundle's list is wrong"):
        parse_manifest(make_manifest((source,)))


def test_each_kind_comes_back_as_it_was() -> None:
    sha256 = "0" * 64
    file = BundledFile(name="a-1-0.conda", sha256=sha256, size=3)
    conda = CondaSource(wants="c", packages=(conda_package(sha256),), files=(file,))
    archive = BundledFile(name="0123abc.zip", sha256=sha256, size=3)
    python = PythonSource(wants="p", packages=(by_address(),), files=(archive,))
    r = RSource(wants="r", texts={"bookworm": sha256}, sources=(f"glue 1.6.2 sha256:{sha256}",), files=())
    tools = {"own": (f"flit-core==3.9 --hash=sha256:{sha256}",)}
    python = replace_fields(python, tools=tools)
    bundle = parse_manifest(make_manifest((conda, python, r, repository("1" * 40))))
    assert bundle.find(PythonSource, "p") == python
    assert bundle.find(CondaSource, "c") == conda
    assert bundle.find(RSource, "c") is None
    assert pack_conda(unpack_conda(conda)) == conda.packages
    place = f"file:///run/carboy/packages/{sha256}/0123abc.zip"
    assert find_places(python) == {"far": ("https://example.org/0123abc.zip", place)}
    assert [source.describe() for source in bundle.sources] == [
        "conda: 1 package",
        "Python: 1 package",
        "R: 0 files, 1 source package among them",
        "repository https://example.org/own at 111111111111",
    ]


def test_a_list_of_another_kind_or_version_is_refused() -> None:
    value = json.loads(make_manifest(sources()))
    for changed, words in (
        ({**value, "version": 9}, "version"),
        ({**value, "more": 1}, "cannot be read"),
        ({**value, "sources": [{"kind": "conda"}]}, "cannot be read"),
    ):
        with pytest.raises(CarboyError, match=words):
            parse_manifest(json.dumps(changed).encode())


def test_a_base_is_found_by_what_it_is() -> None:
    from carboy.bootstrap.recipe import Recipe

    offline = Offline(bundle=parse_manifest(make_manifest(sources())))
    snapshot = offline.find_snapshot(Recipe(packages=("python3",)), base="debian:bookworm")
    assert snapshot is not None
    assert snapshot.texts == {"bookworm": hash_of(DEB)}
    with pytest.raises(CarboyError, match="with jq, python3"):
        offline.find_snapshot(Recipe(packages=("python3", "jq")), base="debian:bookworm")
    assert Offline().find_snapshot(Recipe(), base="debian:bookworm") is None
