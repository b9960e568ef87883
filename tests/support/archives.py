"""Archives of distributions, made and signed here and served on loopback: of Debian's form, with a busybox for a system."""

from __future__ import annotations

import gzip
import hashlib
import io
import re
import shutil
import subprocess
import tarfile
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carboy.bootstrap.deb.index import PackageIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from http.server import BaseHTTPRequestHandler

TIME_S = 1_700_000_000
APPLETS = "cat chmod echo env false getty grep id ls ln mkdir mv printf rm sed sleep sort stat test true wc"
# Does what dpkg does for a base: the postinst of each package that is unpacked, once, in the order of the status file.
DPKG = r"""#!/bin/sh
set -e
cd /var/lib/dpkg
for name in $(sed -n 's/^Package: //p' status); do
  script=info/$name.postinst
  [ ! -e "$script" ] || "/var/lib/dpkg/$script" configure
done
sed -i 's/^Status: install ok unpacked/Status: install ok installed/' status
"""


@dataclass(frozen=True, slots=True)
class File:
    """A member of a package: its content, or where a link leads."""

    data: bytes = b""
    mode: int = 0o644
    link: str = ""
    kind: bytes = tarfile.REGTYPE
    uid: int = 0


class Web(SimpleHTTPRequestHandler):
    """Serves a folder and says nothing."""

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def index_of(*packages: str) -> PackageIndex:
    """Return an index of packages "name version; Field: value; ..."."""
    text = ""
    for package in packages:
        head, *fields = package.split("; ")
        name, version = head.split()
        text += f"Package: {name}\nVersion: {version}\nArchitecture: all\nFilename: pool/{name}.deb\nSize: 10\n"
        text += f"SHA256: {name.encode().hex():0<64.64}\n" + "".join(f"{field}\n" for field in fields) + "\n"
    return PackageIndex([(text.encode(), "https://archive.example.org/debian")])


@contextmanager
def serve(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback and yield its address."""
    with serve_by(partial(Web, directory=str(folder))) as address:
        yield address


@contextmanager
def serve_by(handler: Callable[..., BaseHTTPRequestHandler]) -> Iterator[str]:
    """Have a handler answer on loopback, and yield its address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def find_busybox() -> bytes:
    """Return the machine's busybox, which needs no libraries."""
    path = shutil.which("busybox")
    if path is None:
        pytest.skip("busybox is not installed (Debian: busybox-static)")
    return Path(path).read_bytes()


def find_shell() -> dict[str, File]:
    """Return the machine's shell and its libraries: busybox's takes its own dpkg, whatever there is in PATH."""
    files = {"./usr/bin/sh": File(Path("/bin/sh").read_bytes(), mode=0o755)}
    listed = subprocess.run(["ldd", "/bin/sh"], capture_output=True, text=True, check=True).stdout
    for path in re.findall(r"(?:=> |^\s*)(/\S+)", listed, re.MULTILINE):
        files[f".{path}"] = File(Path(path).read_bytes(), mode=0o755)
    return files


def make_tar(files: Mapping[str, File], *, form: int = tarfile.GNU_FORMAT, end: bool = True) -> bytes:
    """Return a tar of the files, without its end where that is wanted."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=form) as tar:
        for name, file in files.items():
            member = tarfile.TarInfo(name)
            member.type = tarfile.SYMTYPE if file.link and file.kind == tarfile.REGTYPE else file.kind
            member.linkname = file.link
            member.mode = 0o777 if member.type == tarfile.SYMTYPE else file.mode
            member.mtime = TIME_S
            member.uid = member.gid = file.uid
            member.size = len(file.data) if member.type == tarfile.REGTYPE else 0
            tar.addfile(member, io.BytesIO(file.data))
        size = tar.offset
    return out.getvalue() if end else out.getvalue()[:size]


def _ar(members: Mapping[str, bytes]) -> bytes:
    parts = [b"!<arch>\n"]
    for name, data in members.items():
        parts.append(f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode())
        parts.append(data + b"\n" * (len(data) % 2))
    return b"".join(parts)


@dataclass
class DebArchive:
    """An archive of one suite below ``folder``, signed with a key of its own, which is in ``keyring``."""

    folder: Path
    suite: str
    version: str
    origin: str = "Ubuntu"
    components: tuple[str, ...] = ("main", "universe")
    architecture: str = "amd64"
    packages: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from pysequoia import Tsk

        self._tsk = Tsk.generate(f"{self.origin} test archive <test@example.org>")
        self.keyring = self.folder.parent / f"{self.folder.name}.gpg"
        self.keyring.write_bytes(bytes(self._tsk.extract_certificate()))

    def add(self, name: str, files: Mapping[str, File], *, scripts: Mapping[str, str] = {}, **fields: str) -> None:
        """Add a package; ``fields`` are those of its control file, in Python's spelling."""
        version = fields.pop("Version", "1.0")
        lines = {"Package": name, "Version": version, "Architecture": "all", "Maintainer": "x", "Description": name}
        lines |= {key.replace("_", "-"): value for key, value in fields.items()}
        control = "".join(f"{key}: {value}\n" for key, value in lines.items())
        control_files = {"control": File(control.encode())}
        control_files |= {key: File(text.encode(), mode=0o755) for key, text in scripts.items()}
        deb = _ar(
            {
                "debian-binary": b"2.0\n",
                "control.tar.gz": gzip.compress(make_tar(control_files), mtime=0),
                "data.tar.gz": gzip.compress(make_tar(files), 1, mtime=0),
            }
        )
        path = f"pool/main/{name}_{version}.deb"
        target = self.folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(deb)
        place = f"Filename: {path}\nSize: {len(deb)}\nSHA256: {hashlib.sha256(deb).hexdigest()}\n"
        self.packages[name] = control + place

    def publish(self, **changes: str) -> None:
        """Write and sign the suite and its updates and security suites, which are empty; ``changes`` are fields of Release."""
        for ending in ("", "-updates", "-security"):
            folder = self.folder / "dists" / f"{self.suite}{ending}"
            hashes = []
            for component in self.components:
                texts = "\n".join(self.packages.values()) if component == "main" and not ending else ""
                data = gzip.compress(texts.encode(), mtime=0)
                path = f"{component}/binary-{self.architecture}/Packages.gz"
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                (folder / path).write_bytes(data)
                hashes.append(f" {hashlib.sha256(data).hexdigest()} {len(data)} {path}\n")
            fields = {
                "Origin": self.origin,
                "Suite": f"{self.suite}{ending}",
                "Codename": self.suite,
                "Version": self.version,
                "Date": "Tue, 14 Nov 2023 22:13:20 UTC",
                "Architectures": self.architecture,
                "Components": " ".join(self.components),
            } | changes
            text = "".join(f"{key}: {value}\n" for key, value in fields.items()) + "SHA256:\n" + "".join(hashes)
            (folder / "InRelease").write_bytes(self.sign(text))

    def sign(self, text: str) -> bytes:
        """Return the text, clear-signed."""
        from pysequoia import SignatureMode, sign

        return bytes(sign(self._tsk.signer(), text.encode(), mode=SignatureMode.CLEAR))


def make_ubuntu(folder: Path) -> DebArchive:
    """Return a small Ubuntu 24.04: a busybox with dpkg and apt in name, and a tool in an optional package."""
    archive = DebArchive(folder, suite="noble", version="24.04")
    busybox = {
        "./usr/bin/busybox": File(find_busybox(), mode=0o755),
        "./usr/bin/find": File(b"#!/bin/sh\n", mode=0o755),  # busybox's cannot delete
    }
    # As Debian's packages had it before /usr was merged: below /bin, which the base makes a link.
    links = {f"./bin/{name}": File(link="busybox") for name in APPLETS.split()}
    archive.add(
        "dash", {**busybox, **find_shell(), **links}, Essential="yes", Priority="required", Pre_Depends="base-files"
    )
    archive.add(
        "base-files",
        {
            "./etc/os-release": File(b'NAME="Ubuntu"\nVERSION_ID="24.04"\nID=ubuntu\n'),
            "./etc/passwd": File(b"root:x:0:0:root:/root:/bin/sh\n"),
            "./etc/group": File(b"root:x:0:\n"),
            **{
                f"./{name}": File(mode=0o755, kind=tarfile.DIRTYPE)
                for name in ("root", "var/log", "run", "proc", "sys", "dev")
            },
            "./tmp": File(mode=0o1777, kind=tarfile.DIRTYPE),
        },
        Essential="yes",
        Priority="required",
        scripts={"postinst": "#!/bin/sh\necho configured > /etc/base-files.done\n"},
    )
    archive.add("dpkg", {"./usr/bin/dpkg": File(DPKG.encode(), mode=0o755)}, Essential="yes", Priority="required")
    keyring = {"./usr/share/keyrings/ubuntu-archive-keyring.gpg": File(archive.keyring.read_bytes())}
    archive.add("ubuntu-keyring", keyring, Priority="important")
    archive.add("apt", {"./etc/apt/apt.conf.d/01x": File(b"")}, Priority="required", Depends="ubuntu-keyring")
    archive.add("tool", {"./usr/bin/tool": File(b"#!/bin/sh\necho tool\n", mode=0o755)}, Depends="dash (>= 1)")
    archive.publish()
    return archive
