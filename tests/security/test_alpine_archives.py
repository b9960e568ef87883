"""Alpine archives that lie: what nobody trusted signed, what is not what it was said to be, and what asks for too much.

Hardening tables A and E: signatures, archives, decompression. Keys, signatures and packages are made here, by OpenSSL.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import tarfile
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from alpine import KEY, ApkArchive, make_data, make_key, openssl, segment, sign, signed
from archives import TIME_S, File

from carboy.bootstrap.apk.index import parse_index
from carboy.bootstrap.apk.segments import identify, read_segment
from carboy.bootstrap.apk.signature import PublicKey, is_signed, parse_key, read_keys
from carboy.bootstrap.apk.state import RepositoryState, read_index
from carboy.bootstrap.apk.unpack import UnpackReport, iter_tree_tar
from carboy.bootstrap.errors import ArchiveDataError, BootstrapError, SignatureError
from carboy.bootstrap.streams import ChunkReader
from carboy.errors import CarboyError
from carboy.layers.errors import LayerError
from carboy.layers.extract import extract

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.slow

SHA1 = bytes.fromhex("3021300906052b0e03021a05000414")


@pytest.fixture
def archive(tmp_path: Path) -> ApkArchive:
    (tmp_path / "a").mkdir()
    made = ApkArchive(tmp_path / "a")
    made.add("musl", {"lib/ld.so": File(b"musl")})
    return made


def read(archive: ApkArchive, data: bytes, *, suite: str = "3.20") -> RepositoryState:
    keys = read_keys([str(archive.keys)])
    uri = f"http://a.example/v{suite}/main/x86_64"
    return read_index(data, url="u", keys=keys, uri=uri, suite=suite, architecture="x86_64")


# --- signatures -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "digest"), [("RSA", "sha1"), ("RSA256", "sha256"), ("RSA512", "sha512")])
def test_what_a_trusted_key_signed_is_read(archive: ApkArchive, kind: str, digest: str) -> None:
    state = read(archive, signed(archive.private, archive.make_index(), kind=kind, digest=digest))
    assert (state.signer, state.component, [package.name for package in state.packages]) == (KEY, "main", ["musl"])


def test_an_index_that_is_not_signed_is_refused(archive: ApkArchive) -> None:
    with pytest.raises(SignatureError, match=r"signature") as caught:
        read(archive, archive.make_index())
    assert "not signed" in caught.value.details


def test_an_index_signed_by_somebody_else_is_refused(archive: ApkArchive, tmp_path: Path) -> None:
    other = make_key(tmp_path / "others", "other@example.org.rsa.pub")
    index = archive.make_index()
    with pytest.raises(SignatureError) as caught:
        read(archive, signed(other, index, name="other@example.org.rsa.pub"))
    assert "not among the keys" in caught.value.details
    with pytest.raises(SignatureError) as caught:  # under a trusted key's name
        read(archive, signed(other, index))
    assert "is wrong" in caught.value.details


def test_a_changed_index_is_refused(archive: ApkArchive) -> None:
    data = bytearray(signed(archive.private, archive.make_index()))
    data[-12] ^= 1
    with pytest.raises(SignatureError):
        read(archive, bytes(data))


def test_what_follows_a_signed_index_counts_as_signed(archive: ApkArchive) -> None:
    with pytest.raises(SignatureError):
        read(archive, signed(archive.private, archive.make_index()) + segment({"APKINDEX": File(b"")}, end=True))


def test_a_signature_by_another_hash_is_not_taken_for_its_own(archive: ApkArchive) -> None:
    with pytest.raises(SignatureError):
        read(archive, signed(archive.private, archive.make_index(), kind="RSA256", digest="sha1"))


@pytest.mark.parametrize("name", [f"../keys/{KEY}", f"/etc/{KEY}", f"x/../{KEY}"])
def test_a_keys_name_is_no_path(archive: ApkArchive, name: str) -> None:
    with pytest.raises(SignatureError):
        read(archive, signed(archive.private, archive.make_index(), name=name))


def test_another_branch_under_this_ones_name_is_refused(archive: ApkArchive) -> None:
    data = signed(archive.private, archive.make_index(description="v3.19.1-5-gabc"))
    with pytest.raises(ArchiveDataError, match="another branch"):
        read(archive, data)
    assert read(archive, signed(archive.private, archive.make_index(description="anything"))).signer == KEY


def test_signatures_are_compared_with_the_one_encoding(archive: ApkArchive) -> None:
    """CVE-2006-4339 and its kin: padding that is short, garbage behind the hash, numbers beyond the modulus."""
    key = read_keys([str(archive.keys)])[KEY]
    digest = hashlib.sha1(b"data", usedforsecurity=False).digest()
    right = sign(archive.private, b"data")
    assert is_signed(key, right, digest, prefix=SHA1)
    private = openssl("rsa", "-in", str(archive.private), "-noout", "-text").decode()
    exponent = int("".join(private.split("privateExponent:")[1].split("prime1:")[0].split()).replace(":", ""), 16)
    size = key.size_bytes

    def forge(encoded: bytes) -> bytes:
        return pow(int.from_bytes(encoded, "big"), exponent, key.modulus).to_bytes(size, "big")

    info = SHA1 + digest
    full = b"\0\1" + b"\xff" * (size - len(info) - 3) + b"\0" + info
    assert is_signed(key, forge(full), digest, prefix=SHA1)
    for encoded in (
        b"\0\1" + b"\xff" * 8 + b"\0" + info + b"\0" * (size - len(info) - 11),  # garbage behind
        b"\0\2" + full[2:],
        b"\0\1" + b"\xff" * (size - len(info) - 4) + b"\xfe\0" + info,
        full[:-21] + b"\0" + full[-20:],  # another algorithm's DigestInfo
    ):
        assert not is_signed(key, forge(encoded), digest, prefix=SHA1)
    longer = (int.from_bytes(right, "big") + key.modulus).to_bytes(size + 1, "big")
    for wrong in (b"", b"\0" * size, b"\0" + right, right[:-1], longer, longer[1:], bytes(size - 1) + b"\1"):
        assert not is_signed(key, wrong, digest, prefix=SHA1)


def test_keys_that_are_none(tmp_path: Path) -> None:
    good = make_key(tmp_path / "good")
    pem = (tmp_path / "good" / KEY).read_bytes()
    assert isinstance(parse_key(pem, name="k"), PublicKey)
    der = base64.b64decode(b"".join(pem.split(b"-----")[2].split()))

    def wrap(data: bytes) -> bytes:
        return b"-----BEGIN PUBLIC KEY-----\n" + base64.b64encode(data) + b"\n-----END PUBLIC KEY-----\n"

    short = tmp_path / "short"
    make_key(short, bits=1024)
    elliptic = openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout")
    for wrong in (
        b"",
        pem[:100],
        good.read_bytes(),
        pem + pem,
        wrap(der + b"\0"),
        wrap(der[:-1]),
        wrap(b"\x30\x84\0\0" + der[2:]),
        wrap(der.replace(b"\x02\x03\x01\x00\x01", b"\x02\x03\x01\x00\x02")),
        (short / KEY).read_bytes(),
        openssl("ec", "-pubout", data=elliptic),
    ):
        with pytest.raises(BootstrapError):
            parse_key(wrong, name="k")


def test_a_folder_without_keys(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="no key"):
        read_keys([str(tmp_path)])
    with pytest.raises(BootstrapError, match="cannot be read"):
        read_keys([str(tmp_path / "gone")])


# --- sizes ----------------------------------------------------------------------------------------------------------


def test_a_signature_that_never_ends(archive: ApkArchive) -> None:
    """A bomb before anything is signed: what may be decompressed without trust is bounded."""
    bomb = gzip.compress(bytes(64 * 2**20), 9)
    with pytest.raises(ArchiveDataError, match="damaged"):
        read(archive, bomb)


def test_a_segment_is_bounded_and_found_cut_off() -> None:
    data = gzip.compress(os.urandom(1000)) + b"next"

    def reader(offset: int, size: int) -> bytes:
        return data[offset : offset + min(size, 7)]

    found = read_segment(reader, 0, limit=1000, name="x")
    assert data[found.end :] == b"next"
    with pytest.raises(ArchiveDataError):
        read_segment(reader, 0, limit=999, name="x")
    with pytest.raises(ArchiveDataError):
        read_segment(lambda offset, _: data[offset : min(offset + 7, 100)], 0, limit=1000, name="x")
    with pytest.raises(ArchiveDataError):
        read_segment(lambda *_: b"not gzip", 0, limit=1000, name="x")


# --- packages -------------------------------------------------------------------------------------------------------


def unpack(archive: ApkArchive, tree: Path, name: str = "bad") -> None:
    packages = parse_index("\n".join(archive.blocks), uri=str(archive.place()), architecture="x86_64")
    chosen = [package for package in packages if package.name == name]
    chunks = iter_tree_tar(chosen, lambda package: package.url, UnpackReport(), list, mtime_s=TIME_S)
    tree.mkdir()
    extract(ChunkReader(chunks), str(tree), chown=False, whiteouts="apply")


def test_a_package_is_what_the_index_says(archive: ApkArchive) -> None:
    path = archive.place() / "musl-1.0-r0.apk"
    (package,) = parse_index(archive.blocks[0], uri="u", architecture="x86_64")
    with path.open("rb") as file:
        assert identify(file) == package.identity
    data = path.read_bytes()
    for changed in (
        data[:-1] + bytes([data[-1] ^ 1]),
        data + b"\0",
        data[:-5],
        data[: len(data) // 2],
        b"",
        b"\x1f\x8b",
    ):
        path.write_bytes(changed)
        with path.open("rb") as file:
            assert identify(file) != package.identity


def test_a_package_of_another_name_is_refused(archive: ApkArchive, tmp_path: Path) -> None:
    path = archive.add("bad", {"x": File(b"x")})
    path.write_bytes((archive.place() / "musl-1.0-r0.apk").read_bytes())
    with pytest.raises(ArchiveDataError, match="holds another package"):
        unpack(archive, tmp_path / "tree")


def test_a_file_that_is_not_what_its_checksum_says(archive: ApkArchive, tmp_path: Path) -> None:
    archive.add("bad", {}, data=make_data({"usr/bin/x": File(b"x")}, wrong="usr/bin/x"))
    with pytest.raises(ArchiveDataError, match="damaged"):
        unpack(archive, tmp_path / "tree")


@pytest.mark.parametrize(
    "files",
    [
        {"../escaped": File(b"x")},
        {"a/../../escaped": File(b"x")},
        {"link": File(link=".."), "link/escaped": File(b"x")},
        {"link": File(link="/tmp"), "hard": File(link="link/../escaped", kind=tarfile.LNKTYPE)},
        {"hard": File(link="../canary", kind=tarfile.LNKTYPE)},
        {"hard": File(link="/etc/passwd", kind=tarfile.LNKTYPE)},
        {"device": File(kind=tarfile.CHRTYPE)},
        {"fifo": File(kind=tarfile.FIFOTYPE)},
    ],
)
def test_a_package_that_leads_out_of_the_tree(archive: ApkArchive, tmp_path: Path, files: dict[str, File]) -> None:
    canary = tmp_path / "canary"
    canary.write_bytes(b"canary")
    archive.add("bad", {}, data=make_data(files))
    with suppress(LayerError, ArchiveDataError):
        unpack(archive, tmp_path / "tree")
    assert not (tmp_path / "escaped").exists()
    assert canary.read_bytes() == b"canary"
    assert canary.stat().st_nlink == 1
    assert not [path for path in (tmp_path / "tree").rglob("*") if path.is_char_device() or path.is_fifo()]


def test_apks_own_files_are_not_unpacked(archive: ApkArchive, tmp_path: Path) -> None:
    data = make_data({".PKGINFO": File(b"x"), ".post-install": File(b"x"), "srv/.keep": File(b"")})
    archive.add("bad", {}, data=data)
    unpack(archive, tmp_path / "tree")
    assert [path.name for path in (tmp_path / "tree").iterdir()] == ["srv"]
    assert (tmp_path / "tree/srv/.keep").exists()


def test_data_that_never_ends_is_refused(archive: ApkArchive, tmp_path: Path) -> None:
    """An endless gzip: the ratio is bounded while it is read, and nothing is held."""
    head = tarfile.TarInfo("zeros")
    head.size = 8 * 2**30
    zeros = gzip.compress(bytes(16 * 2**20), 6)
    archive.add("bad", {}, data=gzip.compress(head.tobuf()) + zeros * 520)
    with pytest.raises(CarboyError):
        unpack(archive, tmp_path / "tree")
    size = sum(path.stat().st_blocks for path in (tmp_path / "tree").rglob("*")) * 512
    assert size < 700 * 2**20


@pytest.mark.parametrize("cut", [0, 100, 513, 1500])
def test_a_tar_that_is_cut_off(archive: ApkArchive, tmp_path: Path, cut: int) -> None:
    whole = gzip.decompress(make_data({"usr/bin/x": File(b"x" * 2000)}))
    archive.add("bad", {}, data=gzip.compress(whole[:cut]))
    with pytest.raises(ArchiveDataError, match="damaged"):
        unpack(archive, tmp_path / "tree")
