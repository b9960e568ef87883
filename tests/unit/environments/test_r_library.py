"""Where R packages come from: binaries first, source where another version is locked, and what is said where neither is had."""

from __future__ import annotations

import gzip
import hashlib
import io
import tarfile
from pathlib import Path

import pytest
from archives import index_of

from carboy.base.web import WebSettings
from carboy.bootstrap.deb.resolve import resolve_above
from carboy.build.r_layers import find_needed
from carboy.environments.r.install import explain_failure, move_installed, plan_script
from carboy.environments.r.library import Library, RepositoryError, Source, resolve_library, sort_sources
from carboy.environments.r.repository import PUBLIC, SourceRepository, read_source
from carboy.environments.r.settings import read_repositories
from carboy.environments.r.system import find_development, find_missing
from carboy.environments.r.wants import RPackage
from carboy.errors import CarboyError

BINARIES = {"r-cran-abind": "1.4-5-2", "r-cran-xml2": "1.3.3-1+b1", "r-cran-matrix": "1.5-3-1"}


class Memory:
    """A repository of values: current versions by name, and what each version requires."""

    def __init__(self, **versions: str) -> None:
        self.versions = versions
        self.requires: dict[str, tuple[RPackage, ...]] = {}
        self.asked: list[str] = []

    def find_version(self, name: str) -> str | None:
        self.asked.append(name)
        return self.versions.get(name)

    def fetch(self, name: str, version: str) -> Source | None:
        if version not in {self.versions.get(name), "0.9"}:
            return None
        return Source(name=name, version=version, sha256="0" * 64, requires=self.requires.get(name, ()))


class Nobody:
    """A repository that does not answer."""

    def find_version(self, name: str) -> str | None:
        raise RepositoryError("cannot fetch it", details=name)

    fetch = None


def resolve(*packages: RPackage, repository: object = None, distribution: bool = False) -> Library:
    return resolve_library(
        packages,
        find_binary=BINARIES.get,
        repository=repository or Nobody(),  # type: ignore[arg-type]
        r_version="4.2.2",
        distribution=distribution,
        asked_by="renv.lock",
    )


def pin(name: str, version: str) -> RPackage:
    return RPackage(name=name, operator="==", version=version)


def test_binaries_come_first_and_nobody_is_asked() -> None:
    library = resolve(pin("abind", "1.4-5"), RPackage(name="Matrix"), RPackage(name="stats"), pin("xml2", "1.3.3"))
    assert library == Library(binaries=("r-cran-abind", "r-cran-matrix", "r-cran-xml2"), sources=())


def test_another_version_is_source_with_all_that_it_requires() -> None:
    repository = Memory(abind="1.5", tool="2.0", deep="1.0")
    repository.requires = {
        "abind": (RPackage(name="R", operator=">=", version="3.0"), RPackage(name="tool"), RPackage(name="xml2")),
        "tool": (RPackage(name="deep"), RPackage(name="Matrix", operator=">=", version="1.0")),
    }
    library = resolve(pin("abind", "0.9"), repository=repository)
    assert library.binaries == ("r-cran-matrix", "r-cran-xml2")
    assert [source.name for source in library.sources] == ["deep", "tool", "abind"]
    assert library.sources[-1].version == "0.9"
    # The distribution's is not new enough for what source requires.
    repository.requires["tool"] = (RPackage(name="xml2", operator=">=", version="2"),)
    repository.versions["xml2"] = "2.1"
    assert "xml2" in [source.name for source in resolve(pin("abind", "0.9"), repository=repository).sources]


def test_what_cannot_be_had_is_said_with_what_can() -> None:
    with pytest.raises(CarboyError, match=r"2 R packages of renv\.lock cannot be had") as caught:
        resolve(pin("abind", "1.4-3"), pin("nowhere", "1.0"))
    assert caught.value.details.splitlines() == [
        "abind == 1.4-3: the distribution has 1.4-5 (r-cran-abind 1.4-5-2)",
        "nowhere == 1.0: the distribution has no r-cran-nowhere",
        "no source can be had: cannot fetch it: abind",
    ]
    assert 'versions = "distribution"' in caught.value.hint
    assert resolve(pin("abind", "1.4-3"), distribution=True).binaries == ("r-cran-abind",)
    with pytest.raises(CarboyError) as caught:
        resolve(pin("abind", "7"), repository=Memory(abind="1.5"))
    assert caught.value.details == (
        "abind == 7: the distribution has 1.4-5 (r-cran-abind 1.4-5-2), the repository has 1.5"
    )


def test_requirements_that_contradict_each_other_are_named() -> None:
    repository = Memory(tool="1.0", other="1.0")
    repository.requires = {
        "tool": (RPackage(name="abind", operator=">=", version="2.0"), RPackage(name="R", operator=">=", version="9")),
        "other": (RPackage(name="tool", operator=">", version="1.0"),),
    }
    with pytest.raises(CarboyError) as caught:
        resolve(pin("abind", "1.4-5"), RPackage(name="tool"), RPackage(name="other"), repository=repository)
    assert caught.value.details.splitlines() == [
        "tool 1.0 requires abind >= 2.0, and renv.lock has 1.4-5",
        "tool 1.0 requires R >= 9, and the base has R 4.2.2",
        "other 1.0 requires tool > 1.0, and 1.0 was chosen",
    ]


def test_a_circle_of_requirements_has_an_order() -> None:
    def source(name: str, needs: str) -> Source:
        return Source(name=name, version="1", sha256="", requires=(RPackage(name=needs),))

    circle = {"a": source("a", "b"), "b": source("b", "c"), "c": source("c", "a")}
    assert [item.name for item in sort_sources(circle)] == ["c", "b", "a"]


def pack(fields: str, name: str = "a") -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for path, text in (
            (f"{name}/R/a.R", "1"),
            (f"{name}/inst/DESCRIPTION", "Package: no\n"),
            (f"{name}/DESCRIPTION", fields),
        ):
            info = tarfile.TarInfo(path)
            info.size = len(text)
            tar.addfile(info, io.BytesIO(text.encode()))
    return gzip.compress(raw.getvalue(), mtime=0)


def make_repository(place: Path, data: bytes, *, md5: str = "", index: str | None = None) -> None:
    contrib = place / "src" / "contrib"
    contrib.mkdir(parents=True, exist_ok=True)
    text = index or f"Package: a\nVersion: 1.0\nMD5sum: {md5 or hashlib.md5(data, usedforsecurity=False).hexdigest()}\n"
    (contrib / "PACKAGES.gz").write_bytes(gzip.compress(text.encode()))
    (contrib / "a_1.0.tar.gz").write_bytes(data)


def open_repository(tmp_path: Path, *addresses: str, **hashes: str) -> SourceRepository:
    places = addresses or (f"file://{tmp_path}/cran/",)
    known = {f"{name} 1.0": value for name, value in hashes.items()}
    return SourceRepository(
        places, web=WebSettings(), cache_dir=f"{tmp_path}/cache", hashes=known, sleep=lambda _: None
    )


def test_a_repository_is_read_and_its_files_are_kept_by_hash(tmp_path: Path) -> None:
    data = pack("Package: a\nVersion: 1.0\nDepends: R (>= 4.0)\nImports: b (>= 2)\nNeedsCompilation: no\n")
    make_repository(tmp_path / "cran", data)
    repository = open_repository(tmp_path)
    assert repository.find_version("a") == "1.0"
    assert repository.find_version("b") is None
    source = repository.fetch("a", "1.0")
    assert source is not None
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert [str(item) for item in source.requires] == ["R >= 4.0", "b >= 2"]
    assert not source.compiled
    assert (tmp_path / "cache" / source.sha256).read_bytes() == data
    assert repository.fetch("a", "0.1") is None
    # With its hash nobody is asked; with another hash it is refused, and nothing is kept.
    quiet = open_repository(tmp_path, "http://127.0.0.1:9", a=source.sha256)
    assert quiet.fetch("a", "1.0") == source
    with pytest.raises(CarboyError, match=r"a 1\.0 has other bytes than carboy\.lock says"):
        open_repository(tmp_path, a="f" * 64).fetch("a", "1.0")
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_altered_and_damaged_files_are_refused(tmp_path: Path) -> None:
    make_repository(tmp_path / "cran", pack("Package: a\nVersion: 1.0\n"), md5="0" * 32)
    with pytest.raises(CarboyError, match=r"a 1\.0 is not what the repository's index says"):
        open_repository(tmp_path).fetch("a", "1.0")
    make_repository(tmp_path / "cran", pack("Package: a\nVersion: 2.0\n"))
    with pytest.raises(CarboyError, match=r"the file of a 1\.0 holds a 2\.0"):
        open_repository(tmp_path).fetch("a", "1.0")
    for data in (b"", b"nothing", gzip.compress(b"nothing"), pack("Package: a\n")[:60]):
        with pytest.raises(CarboyError, match="an R package's file"):
            read_source(data, sha256="")
    with pytest.raises(RepositoryError, match="is no repository"):
        open_repository(tmp_path, str(tmp_path)).find_version("a")
    (tmp_path / "cran" / "src" / "contrib" / "PACKAGES.gz").write_bytes(b"\x1f\x8bx")
    with pytest.raises(RepositoryError, match="is damaged"):
        open_repository(tmp_path).find_version("a")
    with pytest.raises(RepositoryError, match="cannot fetch http"):
        open_repository(tmp_path, "http://127.0.0.1:9").find_version("a")
    assert not (tmp_path / "cache").exists()


def test_the_first_repository_that_has_a_package_counts(tmp_path: Path) -> None:
    make_repository(tmp_path / "one", pack("Package: a\nVersion: 1.0\n"))
    make_repository(
        tmp_path / "two",
        b"",
        index="Package: ../c\nVersion: 1\n\nPackage: a\nVersion: 3.0\n\nPackage: b\nVersion: 1.0\n\nPackage: b\nVersion: 1.2\n",
    )
    repository = open_repository(tmp_path, f"{tmp_path}/one", f"{tmp_path}/two")
    assert (repository.find_version("a"), repository.find_version("b")) == ("1.0", "1.2")
    assert repository.find_version("../c") is None


def test_a_machine_names_its_repositories(tmp_path: Path) -> None:
    assert read_repositories({}, home=str(tmp_path)) == (PUBLIC,)
    (tmp_path / "config.toml").write_text('[r]\nrepositories = ["https://cran.example.org"]\n')
    assert read_repositories({}, home=str(tmp_path)) == ("https://cran.example.org",)
    assert read_repositories({"CARBOY_CRAN": "/a /b"}, home=str(tmp_path)) == ("/a", "/b")
    for wrong in ("[r]\nrepository = 1\n", "[r]\nrepositories = 1\n", "[r]\nrepositories = []\n", "r = 1\n"):
        (tmp_path / "config.toml").write_text(wrong)
        with pytest.raises(CarboyError, match=r"config\.toml"):
            read_repositories({}, home=str(tmp_path))


def test_what_is_missing_of_the_system_is_named_as_debian_has_it() -> None:
    assert find_development(["xml2", "curl", "abind"]) == ("libcurl4-openssl-dev", "libssl-dev", "libxml2-dev")
    said = {
        "a.c:1:10: fatal error: libxml/parser.h: No such file or directory": ("libxml2-dev",),
        "/usr/bin/ld: cannot find -lgsl: No such file or directory": ("libgsl-dev",),
        "Package libcurl was not found in the pkg-config search path.": ("libcurl4-openssl-dev",),
        "Package 'libcurl', required by 'virtual:world', not found": ("libcurl4-openssl-dev",),
        "No package 'libgit2' found": ("libgit2-dev",),
        " * deb: libpoppler-cpp-dev (Debian, Ubuntu, etc)": ("libpoppler-cpp-dev",),
        "./configure: line 3: gsl-config: command not found": ("libgsl-dev",),
        "ERROR: nothing that is known": (),
    }
    assert {line: find_missing([line]) for line in said} == said
    error = explain_failure("a 1.0", [*said], 1)
    assert '[system] packages = ["libcurl4-openssl-dev", ' in error.hint
    assert "Dockerfile" in explain_failure("a 1.0", ["no"], 1).hint
    assert explain_failure("a 1.0", ["x: No space left on device"], 1).brief == "the disk is full"


def test_links_of_the_sandbox_lead_nowhere_on_the_host(tmp_path: Path) -> None:
    outside, upper, place = tmp_path / "outside", tmp_path / "upper", tmp_path / "place"
    for folder in (outside / "a", upper / "usr" / "local" / "lib" / "R", place):
        folder.mkdir(parents=True)
    (upper / "usr" / "local" / "lib" / "R" / "site-library").symlink_to(outside)
    with pytest.raises(FileNotFoundError):
        move_installed([Source(name="a", version="1", sha256="")], str(upper), str(place))
    assert (outside / "a").is_dir()


def test_what_a_source_stands_on() -> None:
    index = index_of("r-cran-x 1; Depends: liba, r-cran-y", "r-cran-y 1", "liba 1", "r-cran-z 1")
    packages = resolve_above(index, ["r-cran-x", "r-cran-z"], installed=())
    source = Source(name="s", version="1", sha256="", requires=(RPackage(name="X"), RPackage(name="R")))
    hashes = {package.sha256 for package in packages if package.name != "r-cran-z"}
    assert set(find_needed(source, packages)) == hashes


def test_the_script_tells_R_the_time_of_the_base() -> None:
    sources = [Source(name="a", version="1.0", sha256="f" * 64), Source(name="b", version="2", sha256="e" * 64)]
    script = plan_script(sources, epoch_s=1_700_000_000)
    assert "'--built-timestamp=2023-11-14 22:13:20 UTC'" in script
    assert script.index("installing R package a 1.0") < script.index("installing R package b 2")
