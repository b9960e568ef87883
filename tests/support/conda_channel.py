"""Channels of conda's packages in a folder, made for a test: lists, ``.conda`` and ``.tar.bz2`` files, a package of Python."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import os
import platform
import sysconfig
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import zstandard

PLACEHOLDER = "/opt/" + "placehold_" * 20
SUBDIR = "linux-64" if platform.machine() == "x86_64" else "linux-aarch64"


@dataclass
class File:
    """A file of a package; ``link`` makes it a symbolic link, ``prefix`` ("text", "binary") says that it has the placeholder."""

    data: bytes = b""
    mode: int = 0o644
    link: str = ""
    prefix: str = ""


@dataclass
class CondaChannel:
    """A channel below ``root``: add packages, then ``write`` its lists."""

    root: Path
    records: dict[str, dict[str, dict[str, Any]]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        """The channel as ``config.toml`` names it."""
        return f"file://{self.root}"

    def add(
        self,
        name: str,
        version: str,
        files: dict[str, File],
        *,
        build: str = "0",
        depends: tuple[str, ...] = (),
        noarch: str = "",
        entry_points: tuple[str, ...] = (),
        suffix: str = ".conda",
    ) -> dict[str, Any]:
        """Add a package and return its record in the list."""
        subdir = "noarch" if noarch else SUBDIR
        index: dict[str, Any] = {
            "name": name, "version": version, "build": build, "build_number": 0, "depends": list(depends), "subdir": subdir,
            **({"noarch": noarch} if noarch else {}),
        }  # fmt: skip
        info = make_info(index, files, entry_points=entry_points, noarch=noarch)
        stem = f"{name}-{version}-{build}"
        data = pack_conda(stem, info, files) if suffix == ".conda" else pack_bz2(info, files)
        folder = self.root / subdir
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{stem}{suffix}").write_bytes(data)
        record = {**index, "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
        self.records.setdefault(subdir, {})[f"{stem}{suffix}"] = record
        return {**record, "file": f"{stem}{suffix}"}

    def write(self, *, compressed: bool = False) -> None:
        """Write the lists."""
        for subdir in {SUBDIR, "noarch", *self.records}:
            found = self.records.get(subdir, {})
            value = {
                "info": {"subdir": subdir},
                "packages": {name: record for name, record in found.items() if name.endswith(".tar.bz2")},
                "packages.conda": {name: record for name, record in found.items() if name.endswith(".conda")},
            }
            folder = self.root / subdir
            folder.mkdir(parents=True, exist_ok=True)
            data = json.dumps(value).encode()
            name = "repodata.json.zst" if compressed else "repodata.json"
            (folder / name).write_bytes(zstandard.compress(data) if compressed else data)


def make_info(
    index: dict[str, Any], files: dict[str, File], *, entry_points: tuple[str, ...] = (), noarch: str = ""
) -> dict[str, File]:
    """Return the files of ``info`` as conda-build writes them."""
    paths = [
        {
            "_path": path,
            "path_type": "softlink" if file.link else "hardlink",
            "size_in_bytes": len(file.data),
            **({"prefix_placeholder": PLACEHOLDER, "file_mode": file.prefix} if file.prefix else {}),
        }
        for path, file in files.items()
    ]
    info = {"info/index.json": index, "info/paths.json": {"paths": paths, "paths_version": 1}}
    if noarch == "python":
        info["info/link.json"] = {"noarch": {"type": "python", "entry_points": list(entry_points)}}
    return {name: File(json.dumps(value).encode()) for name, value in info.items()}


def pack_tar(files: dict[str, File]) -> bytes:
    """Return a tar of these files."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, file in files.items():
            member = tarfile.TarInfo(path)
            member.mode, member.mtime, member.uid, member.gid = file.mode, 1_700_000_000, 1000, 1000
            if file.link:
                member.type, member.linkname = tarfile.SYMTYPE, file.link
            member.size = 0 if file.link else len(file.data)
            tar.addfile(member, io.BytesIO(file.data))
    return out.getvalue()


def pack_conda(stem: str, info: dict[str, File], files: dict[str, File]) -> bytes:
    """Return a package in the newer form."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("metadata.json", '{"conda_pkg_format_version": 2}')
        archive.writestr(f"pkg-{stem}.tar.zst", zstandard.compress(pack_tar(files), 1))
        archive.writestr(f"info-{stem}.tar.zst", zstandard.compress(pack_tar(info)))
    return out.getvalue()


def pack_bz2(info: dict[str, File], files: dict[str, File]) -> bytes:
    """Return a package in the older form."""
    return bz2.compress(pack_tar({**info, **files}), 1)


# --- a Python for the channel, of the one that Debian has ---------------------------------------------------------------

_LAUNCHER = """#!/bin/sh
exec {loader} --argv0 "$0" --library-path {prefix}/lib {prefix}/bin/python-program "$@"
"""
_LEFT_OUT = {
    "test", "idlelib", "tkinter", "lib2to3", "turtledemo", "pydoc_data", "distutils", "ensurepip", "__pycache__",
    "dist-packages", "site-packages", "xmlrpc", "sqlite3", "wsgiref",
}  # fmt: skip
_LIBRARIES = ("libexpat.so.1", "libz.so.1", "libffi.so.8", "libuuid.so.1", "libssl.so.3", "libcrypto.so.3")


def find_debian_python() -> Path | None:
    """Return Debian's Python that a package can be made of, None where this machine has none."""
    found = Path("/usr/bin/python3").resolve()
    return found if found.name == "python3.11" and Path("/usr/lib/python3.11/os.py").exists() else None


def add_python(channel: CondaChannel) -> dict[str, Any]:
    """Add Debian's Python 3.11 as a package that can be moved: its program is started with libraries of the prefix."""
    program = find_debian_python()
    assert program is not None
    library = Path(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH') or platform.machine() + '-linux-gnu'}")
    loader = "/lib64/ld-linux-x86-64.so.2" if platform.machine() == "x86_64" else "/lib/ld-linux-aarch64.so.1"
    launcher = _LAUNCHER.format(loader=loader, prefix=PLACEHOLDER).encode()
    files = {
        "bin/python-program": File(program.read_bytes(), mode=0o755),
        "bin/python3.11": File(launcher, mode=0o755, prefix="text"),
        "bin/python3": File(link="python3.11"),
        "bin/python": File(link="python3.11"),
        "lib/python3.11/site-packages/README.txt": File(b"packages\n"),
    }
    for name in _LIBRARIES:
        if (library / name).exists():
            files[f"lib/{name}"] = File((library / name).resolve().read_bytes())
    top = Path("/usr/lib/python3.11")
    for above, folders, names in os.walk(top):
        folders[:] = sorted(
            folder for folder in folders if folder not in _LEFT_OUT and not folder.startswith("config-")
        )
        for name in sorted(names):
            path = Path(above) / name
            if path.suffix in {".py", ".so"} and path.exists():
                files[f"lib/python3.11/{path.relative_to(top)}"] = File(path.read_bytes())
    # Debian's own Python has its packages elsewhere, and `site` in its program.
    files["lib/python3.11/sitecustomize.py"] = File(
        b"import site, sys\nsite.addsitedir(sys.base_prefix + '/lib/python3.11/site-packages')\n"
    )
    return channel.add("python", "3.11.2", files, build="h1_cpython", depends=("__glibc >=2.17",))


def add_samples(channel: CondaChannel) -> dict[str, dict[str, Any]]:
    """Add small packages: a library without a platform that has a command, one for a platform, and an old one."""
    return {
        "answers": channel.add(
            "answers",
            "1.2",
            {
                "site-packages/answers/__init__.py": File(b"from answers.number import ANSWER\n"),
                "site-packages/answers/number.py": File(b"ANSWER = 42\n\n\ndef main():\n    print('answer ', ANSWER)\n"),
                "site-packages/answers-1.2.dist-info/METADATA": File(b"Metadata-Version: 2.1\nName: answers\nVersion: 1.2\n"),
                "site-packages/answers-1.2.dist-info/RECORD": File(b""),
            },
            noarch="python",
            entry_points=("answer = answers.number:main",),
            depends=("python >=3.8", "questions"),
        ),
        "questions": channel.add(
            "questions",
            "0.3",
            {
                "share/questions/place": File(f"{PLACEHOLDER}/share/questions\n".encode(), prefix="text"),
                "bin/question": File(b"#!/bin/sh\ncat " + PLACEHOLDER.encode() + b"/share/questions/place\n", 0o755, "", "text"),
                "lib/libquestion.so.1": File(b"\x7fELF\0" + PLACEHOLDER.encode() + b"/lib:x\0end", prefix="binary"),
                "lib/libquestion.so": File(link="libquestion.so.1"),
            },
            suffix=".tar.bz2",
        ),
    }  # fmt: skip
