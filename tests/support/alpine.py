"""An Alpine archive, made and signed here by OpenSSL: packages, an index, keys; with a busybox for a system."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import shutil
import subprocess
import tarfile
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

import pytest
from archives import TIME_S, File, find_busybox, make_tar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

KEY = "tests@example.org-0123abcd.rsa.pub"


def openssl(*words: str, data: bytes = b"") -> bytes:
    """Run OpenSSL and return what it says."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return subprocess.run(["openssl", *words], input=data, capture_output=True, check=True).stdout


@cache
def _pair(name: str, bits: int) -> tuple[bytes, bytes]:
    """Return a private and a public key: made once for each name, because it takes long."""
    private = openssl("genrsa", str(bits))
    return private, openssl("rsa", "-pubout", data=private)


def make_key(folder: Path, name: str = KEY, *, bits: int = 2048) -> Path:
    """Write the public key of a name into the folder, and return the private one, which is beside the folder."""
    folder.mkdir(exist_ok=True)
    private = folder.parent / f"{name}.private"
    pair = _pair(name, bits)
    private.write_bytes(pair[0])
    (folder / name).write_bytes(pair[1])
    return private


def sign(private: Path, data: bytes, *, digest: str = "sha1") -> bytes:
    """Return the signature of data, PKCS #1 v1.5."""
    return openssl("dgst", f"-{digest}", "-sign", str(private), data=data)


def segment(files: Mapping[str, File], *, end: bool) -> bytes:
    """Return a gzip stream of a tar."""
    return gzip.compress(make_tar(files, end=end), 6, mtime=0)


def signed(private: Path, data: bytes, *, name: str = KEY, kind: str = "RSA", digest: str = "sha1") -> bytes:
    """Return the data with its signature before it."""
    return segment({f".SIGN.{kind}.{name}": File(sign(private, data, digest=digest))}, end=False) + data


def make_data(files: Mapping[str, File], *, wrong: str = "", names: Mapping[str, str] = {}) -> bytes:
    """Return a package's data segment; the checksum of ``wrong`` is another file's, ``names`` are the owners' by path."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for path, file in files.items():
            member = tarfile.TarInfo(path)
            member.type = tarfile.SYMTYPE if file.link and file.kind == tarfile.REGTYPE else file.kind
            member.linkname, member.mtime = file.link, TIME_S
            member.mode = 0o777 if member.type == tarfile.SYMTYPE else file.mode
            member.uid = member.gid = file.uid
            member.uname = member.gname = names.get(path, "root")
            if member.type == tarfile.REGTYPE:
                member.size = len(file.data)
                content = b"wrong" if path == wrong else file.data
                digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
                member.pax_headers = {"APK-TOOLS.checksum.SHA1": digest}
            tar.addfile(member, io.BytesIO(file.data))
    return gzip.compress(out.getvalue(), 1, mtime=0)


@dataclass
class ApkArchive:
    """An archive of one branch below ``folder``; its public keys are in ``keys``."""

    folder: Path
    branch: str = "v3.20"
    architecture: str = "x86_64"
    blocks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keys = self.folder.parent / f"{self.folder.name}-keys"
        self.private = make_key(self.keys)
        for component in ("main", "community"):
            self.place(component).mkdir(parents=True)

    def place(self, component: str = "main") -> Path:
        """Return the folder of a repository."""
        return self.folder / self.branch / component / self.architecture

    def add(
        self,
        name: str,
        files: Mapping[str, File],
        *,
        version: str = "1.0-r0",
        scripts: Mapping[str, str] = {},
        info: Sequence[str] = (),
        index: Mapping[str, str] = {},
        data: bytes | None = None,
        names: Mapping[str, str] = {},
    ) -> Path:
        """Add a package; ``info`` are further lines of .PKGINFO, ``index`` further fields of the index by letter."""
        data = make_data(files, names=names) if data is None else data
        lines = [
            f"pkgname = {name}", f"pkgver = {version}", f"arch = {self.architecture}",
            f"datahash = {hashlib.sha256(data).hexdigest()}", *info,
        ]  # fmt: skip
        control_files = {".PKGINFO": File("".join(f"{line}\n" for line in lines).encode())}
        control_files |= {f".{key}": File(text.encode(), mode=0o755) for key, text in scripts.items()}
        control = segment(control_files, end=False)
        package = signed(self.private, control) + data
        path = self.place() / f"{name}-{version}.apk"
        path.write_bytes(package)
        checksum = base64.b64encode(hashlib.sha1(control, usedforsecurity=False).digest()).decode()
        fields = {
            "C": f"Q1{checksum}", "P": name, "V": version, "A": self.architecture, "S": str(len(package)), "I": "1",
            "T": name, "U": "x", "L": "MIT", "t": str(TIME_S), **index,
        }  # fmt: skip
        self.blocks.append("".join(f"{key}:{value}\n" for key, value in fields.items()))
        return path

    def make_index(self, *, description: str = "v3.20.3-1-gabcdef0", blocks: Sequence[str] | None = None) -> bytes:
        """Return an index that is not signed."""
        text = "\n".join(self.blocks if blocks is None else blocks) + "\n"
        return segment({"DESCRIPTION": File(description.encode()), "APKINDEX": File(text.encode())}, end=True)

    def publish(self, **changes: str) -> None:
        """Write and sign the indexes."""
        for component, blocks in (("main", None), ("community", [])):
            data = signed(self.private, self.make_index(blocks=blocks, **changes))
            (self.place(component) / "APKINDEX.tar.gz").write_bytes(data)


def make_alpine(folder: Path) -> ApkArchive:
    """Return a small Alpine 3.20: a busybox that makes its own links, a tool whose files belong to a user of its own."""
    archive = ApkArchive(folder)
    folders = {
        name: File(mode=0o755, kind=tarfile.DIRTYPE) for name in ("etc", "root", "run", "var", "proc", "sys", "dev")
    }
    archive.add(
        "alpine-baselayout",
        {
            **folders,
            "tmp": File(mode=0o1777, kind=tarfile.DIRTYPE),
            "etc/passwd": File(b"root:x:0:0:root:/root:/bin/sh\n"),
            "etc/group": File(b"root:x:0:\nshadow:x:42:\n"),
            "etc/shadow": File(b"root:*::0:::::\n", mode=0o640),
            "etc/os-release": File(b"ID=alpine\nVERSION_ID=3.20.3\n"),
        },
        index={"D": "/bin/sh so:libc.musl-x86_64.so.1"},
    )
    archive.add(
        "busybox",
        {
            "bin/busybox": File(find_busybox(), mode=0o755),
            **{name: File(mode=0o755, kind=tarfile.DIRTYPE) for name in ("bin", "usr/bin", "sbin", "usr/sbin")},
        },
        version="1.36.1-r29",
        scripts={
            "post-install": "#!/bin/busybox sh\n/bin/busybox --install -s\n",
            "trigger": "#!/bin/sh\necho $@ > /triggered\n",
        },
        info=["triggers = /bin /usr/bin /opt/*"],
    )
    archive.add(
        "busybox-binsh", {"bin/sh": File(link="busybox")}, index={"p": "/bin/sh", "k": "100", "D": "busybox=1.36.1-r29"}
    )
    archive.add("dash-binsh", {"bin/sh": File(link="dash")}, index={"p": "/bin/sh", "k": "60"})
    archive.add("alpine-keys", {f"etc/apk/keys/{KEY}": File((archive.keys / KEY).read_bytes())})
    archive.add(
        "apk-tools", {"sbin/apk": File(b"#!/bin/sh\n", mode=0o755)}, index={"D": "so:libc.musl-x86_64.so.1 !old-tools"}
    )
    archive.add("musl", {"lib/ld.so": File(b"musl")}, version="1.2.5-r0", index={"p": "so:libc.musl-x86_64.so.1=1"})
    archive.add("musl-utils", {"usr/bin/ldd": File(b"ldd", mode=0o755)}, version="1.2.5-r0", index={"D": "musl"})
    archive.add("libc-utils", {}, version="0.7.2-r5", index={"D": "musl-utils"})
    archive.add("libc-docs", {"usr/share/doc": File(b"doc")}, index={"i": "musl tool"})
    archive.add(
        "tool",
        {
            "usr/bin/tool": File(b"#!/bin/sh\necho tool\n", mode=0o755),
            "var/lib/tool": File(mode=0o750, kind=tarfile.DIRTYPE, uid=999),
        },
        version="2.1-r3",
        scripts={
            "pre-install": "#!/bin/sh\necho 'tool:x:150:150::/:/bin/false' >> /etc/passwd\necho 'tool:x:150:' >> /etc/group\n"
        },
        info=["replaces = oldtool"],
        index={"D": "/bin/sh", "p": "cmd:tool=2.1-r3"},
        names={"var/lib/tool": "tool"},
    )
    archive.publish()
    return archive
