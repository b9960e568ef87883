"""An index of Python packages on 127.0.0.1, as the tests want it: wheels and sources made here, yanked, or behind a login."""

from __future__ import annotations

import base64
import hashlib
import http.server
import io
import os
import tarfile
import threading
import zipfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from conftest import Carboy


def make_wheel(name: str, version: str, code: str, *, requires: str = "") -> tuple[str, bytes]:
    """Return the name and the bytes of a wheel with one module."""
    info = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    metadata += f"Requires-Dist: {requires}\n" if requires else ""
    files = {
        f"{name}.py": code,
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    rows = []
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.append(f"{path},sha256={digest},{len(text.encode())}\n")
    files[f"{info}/RECORD"] = "".join([*rows, f"{info}/RECORD,,\n"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(zipfile.ZipInfo(path), text)
    return f"{name}-{version}-py3-none-any.whl", buffer.getvalue()


def make_sdist(name: str, version: str, files: Mapping[str, str]) -> tuple[str, bytes]:
    """Return the name and the bytes of a source distribution."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for path, text in files.items():
            member = tarfile.TarInfo(f"{name}-{version}/{path}")
            member.size = len(text.encode())
            archive.addfile(member, io.BytesIO(text.encode()))
    return f"{name}-{version}.tar.gz", buffer.getvalue()


@dataclass(slots=True)
class PackageIndex:
    """What the index has: ``files`` by package, ``yanked`` names of files, ``login`` as user:password ("": everybody's)."""

    address: str = ""
    files: dict[str, dict[str, bytes]] = field(default_factory=dict)
    yanked: set[str] = field(default_factory=set)
    login: str = ""
    forbidden: bool = False

    def add(self, made: tuple[str, bytes]) -> str:
        """Have a file, under the package that its name begins with; return its SHA-256."""
        name, data = made
        self.files.setdefault(name.partition("-")[0].replace("_", "-"), {})[name] = data
        return hashlib.sha256(data).hexdigest()

    def answer(self, path: str, authorization: str) -> tuple[int, str, bytes]:
        """Return status, type and body (PEP 503)."""
        if self.forbidden:
            return 403, "text/plain", b"forbidden"
        if self.login and authorization != f"Basic {base64.b64encode(self.login.encode()).decode()}":
            return 401, "text/plain", b"who are you?"
        kind, _, rest = path.strip("/").partition("/")
        if kind == "simple" and rest in self.files:
            links = []
            for name, data in self.files[rest].items():
                mark = ' data-yanked="broken"' if name in self.yanked else ""
                digest = hashlib.sha256(data).hexdigest()
                links.append(f'<a href="/files/{rest}/{name}#sha256={digest}"{mark}>{name}</a>')
            return 200, "text/html", f"<!DOCTYPE html><html><body>{''.join(links)}</body></html>".encode()
        package, _, name = rest.partition("/")
        if kind == "files" and name in self.files.get(package, {}):
            return 200, "application/octet-stream", self.files[package][name]
        return 404, "text/plain", b"no such thing"


@contextmanager
def serve_index() -> Iterator[PackageIndex]:
    """Serve an index, empty at first, and give it."""
    index = PackageIndex()

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            status, kind, body = index.answer(self.path, self.headers.get("Authorization", ""))
            self.send_response(status)
            if status == 401:
                self.send_header("WWW-Authenticate", 'Basic realm="tests"')
            self.send_header("Content-Type", kind)
            self.send_header("Cache-Control", "no-store")  # a test changes what there is
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        do_HEAD = do_GET

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        index.address = f"http://127.0.0.1:{server.server_port}/simple"
        yield index
        server.shutdown()
        thread.join()


def use_index(carboy: Carboy, index: PackageIndex) -> Carboy:
    """Return a runner that knows no other place of packages than this index."""
    return carboy.using(
        carboy.home,
        UV_DEFAULT_INDEX=index.address,
        PIP_FIND_LINKS="",
        PIP_EXTRA_INDEX_URL="",
        PIP_CONFIG_FILE=os.devnull,
        NO_PROXY="127.0.0.1",
        UV_HTTP_RETRIES="0",
    )
