"""What an archive says: the order of versions, which packages a base needs, and what is refused."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.bootstrap.deb.index import PackageIndex, parse_package
from carboy.bootstrap.deb.release import check_release, parse_date, parse_release
from carboy.bootstrap.deb.resolve import resolve
from carboy.bootstrap.deb.signature import read_keyring, verify_inrelease
from carboy.bootstrap.deb.version import is_satisfied, version_key
from carboy.bootstrap.errors import ArchiveDataError, ResolveError, SignatureError
from carboy.bootstrap.sources import parse_deb822_sources, parse_sources_list

ASCENDING = [
    "1~~",
    "1~~a",
    "1~",
    "1",
    "1-0~a",
    "1-1",
    "1a",
    "1+b1",
    "1.2",
    "1.10",
    "2.0~rc1-1",
    "2.0-1",
    "1:0.1",
    "2:0",
]
upstreams = st.text(alphabet="0129.+~az", min_size=1, max_size=8).map(lambda text: f"1{text}")


def test_versions_in_order() -> None:
    mixed = ASCENDING[::2] + ASCENDING[1::2]
    assert sorted(mixed, key=version_key) == ASCENDING


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dpkg") is None, reason="dpkg is not installed")
@settings(max_examples=60, deadline=None)
@given(left=upstreams, right=upstreams)
def test_versions_compare_as_dpkg_says(left: str, right: str) -> None:
    for relation, word in (("<<", "lt"), ("=", "eq"), (">=", "ge")):
        status = subprocess.run(["dpkg", "--compare-versions", left, word, right], check=False).returncode
        assert is_satisfied(left, relation, right) == (status == 0)


def package(name: str, version: str = "1", **fields: str) -> str:
    lines = {
        "Package": name, "Version": version, "Architecture": "amd64", "Filename": f"pool/{name}_{version}.deb",
        "Size": "10", "SHA256": name.encode().hex().ljust(64, version[0])[:64],
    }  # fmt: skip
    lines |= {key.replace("_", "-"): value for key, value in fields.items()}
    return "".join(f"{key}: {value}\n" for key, value in lines.items()) + "\n"


def index(*packages: str) -> PackageIndex:
    return PackageIndex([("".join(packages).encode(), "https://archive.example/debian")])


APT = package("apt", Depends="libc (>= 2)")
LIBC = package("libc", "2", Essential="yes")


def test_a_base_is_the_minimum_and_what_it_needs() -> None:
    found = resolve(index(APT, LIBC, package("libc", "1"), package("other")), ["apt"])
    assert {(p.name, p.version) for p in found} == {("apt", "1"), ("libc", "2")}


def test_a_virtual_package_is_provided_by_somebody() -> None:
    mawk = package("mawk", Provides="awk", Priority="required")
    found = resolve(index(APT, LIBC, mawk, package("tool", Depends="awk | gawk")), ["tool"])
    assert {p.name for p in found} == {"apt", "libc", "mawk", "tool"}


@pytest.mark.parametrize(
    ("packages", "wanted", "reason"),
    [
        ([package("tool", Depends="gone")], "tool", "gone"),
        ([package("tool", Depends="libc (>= 3)")], "tool", "libc"),
        ([package("tool", Conflicts="libc")], "tool", "libc"),
        ([], "tol", "tol"),
    ],
)
def test_what_cannot_be_is_explained(packages: list[str], wanted: str, reason: str) -> None:
    with pytest.raises(ResolveError) as caught:
        resolve(index(APT, LIBC, *packages), [wanted])
    assert any(reason in issue for issue in caught.value.issues)


@pytest.mark.parametrize("path", ["/etc/passwd", "../x.deb", "pool/../../x.deb", "a b.deb", "pool/./x.deb"])
def test_a_path_that_leaves_the_archive_is_refused(path: str) -> None:
    with pytest.raises(ArchiveDataError):
        parse_package(package("x", Filename=path), uri="https://archive.example")


RELEASE = (
    "Suite: oldstable\nCodename: bookworm\nDate: Sat, 11 Jul 2026 10:16:37 UTC\nValid-Until: Sat, 18 Jul 2026 10:16:37 UTC\n"
    "Architectures: amd64\nComponents: main\nSHA256:\n " + "a" * 64 + " 12 main/binary-amd64/Packages.gz\n"
)


def test_a_release_is_the_one_asked_for_and_still_valid() -> None:
    release = parse_release(RELEASE)
    date_s = parse_date("Sat, 11 Jul 2026 10:16:37 UTC")
    found = release.find_index("main", "amd64")
    assert found is not None
    assert found.size_bytes == 12
    check_release(release, wanted="bookworm", now_s=date_s, check_valid_until=True, url="u")
    with pytest.raises(ArchiveDataError, match="another suite"):
        check_release(release, wanted="trixie", now_s=date_s, check_valid_until=True, url="u")
    with pytest.raises(ArchiveDataError, match="expired"):
        check_release(release, wanted="bookworm", now_s=date_s + 8 * 86_400, check_valid_until=True, url="u")


@pytest.mark.parametrize(
    "data",
    [
        RELEASE.encode(),
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n" + RELEASE.encode(),
        b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\nx\n"
        b"-----BEGIN PGP SIGNATURE-----\n\naaaa\n-----END PGP SIGNATURE-----\n",
        b"",
    ],
)
def test_what_nobody_trusted_signed_is_refused(data: bytes) -> None:
    with pytest.raises(SignatureError):
        verify_inrelease(data, read_keyring(), url="https://archive.example/InRelease")


def test_the_hosts_own_sources() -> None:
    line = (
        "deb [signed-by=/k.gpg] http://mirror.example/debian/ bookworm main contrib # comment\ndeb-src http://x y z\n"
    )
    (source,) = parse_sources_list(line)
    assert (source.uri, source.suite, source.components) == (
        "http://mirror.example/debian",
        "bookworm",
        ("main", "contrib"),
    )
    text = "Types: deb\nURIs: http://mirror.example/debian\nSuites: bookworm bookworm-updates\nComponents: main\n\n"
    assert [s.suite for s in parse_deb822_sources(text)] == ["bookworm", "bookworm-updates"]
    assert parse_deb822_sources(text.replace("Types", "Enabled: no\nTypes")) == []
