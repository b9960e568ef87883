"""A registry for tests: the calls of the distribution specification over memory, with the ways that real ones have of their own.

Servers are real ones, of the standard library, on 127.0.0.1. ``open_web`` is a proxy that leads every name to one of them, so
that tests speak to ``registry.example.com`` by TLS without a network.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections import Counter, deque
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Answer = tuple[int, dict[str, str], bytes]


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Server:
    """A server that records what it is asked; ``answer`` gives status, headers and body, None cuts the connection."""

    answer: Callable[[Seen], Answer | None]
    seen: list[Seen] = field(default_factory=list)
    port: int = 0
    # An answer with this header is cut after so many bytes of its body.
    CUT: ClassVar[str] = "x-cut"

    @property
    def host(self) -> str:
        """The address that clients use."""
        return f"127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    ours: Server

    def _do(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(length)
        seen = Seen(self.command, parts.path, parse_qs(parts.query, keep_blank_values=True), headers, body)
        self.ours.seen.append(seen)
        answer = self.ours.answer(seen)
        if answer is None or len(body) < length:
            self.close_connection = True
            return
        status, told, data = answer
        told = dict(told)
        cut = told.pop(Server.CUT, None)
        self.send_response(status)
        for name, value in told.items():
            self.send_header(name, value)
        if not any(name.lower() == "content-length" for name in told):
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data if cut is None else data[: int(cut)])
        if cut is not None:
            self.close_connection = True

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _do

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


class _Threads(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a client that went away."""


@contextmanager
def serve(answer: Callable[[Seen], Answer | None], *, tls: ssl.SSLContext | None = None) -> Iterator[Server]:
    """Give a server in threads."""
    ours = Server(answer)
    handler = type("Handler", (_Handler,), {"ours": ours})
    with _Threads(("127.0.0.1", 0), handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        ours.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield ours
        finally:
            server.shutdown()
            thread.join()


# --- a registry -----------------------------------------------------------------------------------------------------

_UPLOAD = re.compile(r"/v2/(.+)/blobs/uploads/([0-9]*)")
_BLOB = re.compile(r"/v2/(.+)/blobs/([a-z0-9]+:[0-9a-f]+)")
_MANIFEST = re.compile(r"/v2/(.+)/manifests/([^/]+)")
_TAGS = re.compile(r"/v2/(.+)/tags/list")
_REFERRERS = re.compile(r"/v2/(.+)/referrers/([^/]+)")


def digest_of(data: bytes) -> str:
    """Return the digest of bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass(slots=True)
class Registry:
    """The content of a registry, and its ways.

    ``before`` are answers for the next requests of a kind ("GET blob", "PUT manifest", "GET v2"...), used up one by one in the
    place of the usual one; a callable is given the request. ``change`` changes usual answers.
    """

    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)
    manifests: dict[tuple[str, str], tuple[str, bytes]] = field(default_factory=dict)
    before: dict[str, deque[Answer | Callable[[Seen], Answer | None] | None]] = field(default_factory=dict)
    change: Callable[[str, Seen, Answer], Answer | None] | None = None
    # Refuses who may not: called with the kind, the repository and the request.
    guard: Callable[[str, str, Seen], Answer | None] | None = None
    relative: bool = False
    patch_status: int = 202
    mount: bool = True
    ranges: bool = True
    tells_digest: bool = True
    referrers: bool = False
    uploads: dict[str, bytes] = field(default_factory=dict)
    numbers: Iterator[int] = field(default_factory=count)
    calls: Counter[str] = field(default_factory=Counter)

    def put(self, repository: str, tag: str, raw: bytes, media_type: str) -> str:
        """Have a manifest under a tag and its digest, and return that."""
        self.manifests[repository, tag] = self.manifests[repository, digest_of(raw)] = media_type, raw
        return digest_of(raw)

    def put_blob(self, repository: str, data: bytes) -> str:
        """Have a blob, and return its digest."""
        self.blobs[repository, digest_of(data)] = data
        return digest_of(data)

    def plan(self, kind: str, *answers: Answer | Callable[[Seen], Answer | None] | None) -> None:
        """Answer the next requests of a kind like that."""
        self.before.setdefault(kind, deque()).extend(answers)

    def tags(self, repository: str) -> list[str]:
        """Return the tags of a repository."""
        return sorted(name for there, name in self.manifests if there == repository and ":" not in name)

    def answer(self, seen: Seen) -> Answer | None:
        """Answer a request."""
        kind, repository, call = self._route(seen)
        self.calls[f"{seen.method} {kind}"] += 1
        waiting = self.before.get(f"{seen.method} {kind}")
        if waiting:
            planned = waiting.popleft()
            return planned(seen) if callable(planned) else planned
        refused = self.guard(kind, repository, seen) if self.guard is not None else None
        answer = refused or call()
        return self.change(f"{seen.method} {kind}", seen, answer) if self.change is not None else answer

    def _route(self, seen: Seen) -> tuple[str, str, Callable[[], Answer]]:
        if seen.path == "/v2/":
            return "v2", "", lambda: (200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
        if found := _UPLOAD.fullmatch(seen.path):
            return "upload", found[1], lambda: self._upload(seen, found[1], found[2])
        if found := _BLOB.fullmatch(seen.path):
            return "blob", found[1], lambda: self._blob(seen, found[1], found[2])
        if found := _MANIFEST.fullmatch(seen.path):
            return "manifest", found[1], lambda: self._manifest(seen, found[1], found[2])
        if found := _TAGS.fullmatch(seen.path):
            body = json.dumps({"name": found[1], "tags": self.tags(found[1])}).encode()
            return "tags", found[1], lambda: (200, {"Content-Type": "application/json"}, body)
        if (found := _REFERRERS.fullmatch(seen.path)) and self.referrers:
            return "referrers", found[1], lambda: self._list_referrers(found[1], found[2])
        return "other", "", lambda: (404, {}, b"")

    def _list_referrers(self, repository: str, digest: str) -> Answer:
        entries = []
        for (there, name), (media_type, raw) in self.manifests.items():
            value = json.loads(raw)
            if there == repository and ":" in name and value.get("subject", {}).get("digest") == digest:
                kind = {"mediaType": media_type, "artifactType": value["artifactType"]}
                entries.append({**kind, "digest": name, "size": len(raw)})
        body = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": entries}
        return 200, {"Content-Type": body["mediaType"]}, json.dumps(body).encode()

    def _blob(self, seen: Seen, repository: str, digest: str) -> Answer:
        data = self.blobs.get((repository, digest))
        if data is None:
            return fail(404, "BLOB_UNKNOWN", "blob unknown to registry")
        told = {"Docker-Content-Digest": digest, "Content-Type": "application/octet-stream"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", seen.headers.get("range", ""))
        if asked and self.ranges:
            start = int(asked[1])
            end = min(int(asked[2]) + 1, len(data)) if asked[2] else len(data)
            part = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
            return 206, told | part, data[start:end]
        return 200, told, data

    def _manifest(self, seen: Seen, repository: str, reference: str) -> Answer:
        if seen.method == "PUT":
            digest = self.put(repository, reference, seen.body, seen.headers.get("content-type", ""))
            told = {"Docker-Content-Digest": digest} if self.tells_digest else {}
            subject = json.loads(seen.body).get("subject") if self.referrers else None
            return 201, told | ({"OCI-Subject": subject["digest"]} if subject else {}), b""
        found = self.manifests.get((repository, reference))
        if found is None:
            return fail(404, "MANIFEST_UNKNOWN", "manifest unknown")
        media_type, raw = found
        told = {"Content-Type": media_type}
        return 200, told | ({"Docker-Content-Digest": digest_of(raw)} if self.tells_digest else {}), raw

    def _upload(self, seen: Seen, repository: str, name: str) -> Answer:
        if seen.method == "POST":
            if mount := seen.query.get("mount"):
                source = (seen.query["from"][0], mount[0])
                if self.mount and source in self.blobs:
                    self.blobs[repository, mount[0]] = self.blobs[source]
                    return 201, {"Location": f"/v2/{repository}/blobs/{mount[0]}"}, b""
            name = str(next(self.numbers))
            self.uploads[name] = b""
            return 202, {"Location": self._locate(seen, repository, name)}, b""
        if name not in self.uploads:
            return fail(404, "BLOB_UPLOAD_UNKNOWN", "upload unknown")
        if seen.method == "DELETE":
            del self.uploads[name]
            return 204, {}, b""
        self.uploads[name] += seen.body
        if seen.method == "PATCH":
            end = len(self.uploads[name]) - 1
            told = {"Location": self._locate(seen, repository, name), "Range": f"0-{end}"}
            return self.patch_status, told, b""
        data, digest = self.uploads.pop(name), seen.query["digest"][0]
        if digest_of(data) != digest:
            return fail(400, "DIGEST_INVALID", "provided digest did not match uploaded content")
        self.blobs[repository, digest] = data
        return 201, {"Location": f"/v2/{repository}/blobs/{digest}", "Docker-Content-Digest": digest}, b""

    def _locate(self, seen: Seen, repository: str, name: str) -> str:
        path = f"/v2/{repository}/blobs/uploads/{name}?_state=a%2Fb"
        return path if self.relative else f"http://{seen.headers['host']}{path}"


def fail(status: int, code: str, message: str) -> Answer:
    """Return a failure in the form of the specification."""
    body = json.dumps({"errors": [{"code": code, "message": message}]}).encode()
    return status, {"Content-Type": "application/json"}, body


# --- names and certificates -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Authority:
    """Certificates of the test's own: ``ca`` to trust, ``cert`` and ``key`` for all names below example.com and example.org."""

    ca: Path
    cert: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Return what a server shows."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert, self.key)
        return context


def make_authority(folder: Path) -> Authority:
    """Make an authority and a certificate with openssl."""
    folder.mkdir(exist_ok=True)
    names = "subjectAltName=DNS:*.example.com,DNS:*.example.org"
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    ca = ["-x509", "-subj", "/CN=test", "-days", "2", "-keyout", "ca.key", "-out", "ca.pem"]
    _openssl(folder, "req", *key, *ca, "-addext", "keyUsage=critical,keyCertSign")
    _openssl(folder, "req", *key, "-subj", "/CN=x", "-keyout", "key.pem", "-out", "cert.csr", "-addext", names)
    sign = ["-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2", "-copy_extensions", "copy"]
    _openssl(folder, "x509", "-req", "-in", "cert.csr", *sign, "-out", "cert.pem")
    folder.chmod(0o755)
    (folder / "ca.pem").chmod(0o644)
    return Authority(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


def _openssl(folder: Path, *words: str) -> None:
    done = subprocess.run(["openssl", *words], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@dataclass(slots=True)
class Web:
    """A proxy: ``places`` are the ports behind hosts' names ("registry.example.com:443")."""

    places: dict[str, int]
    port: int = 0

    @property
    def address(self) -> str:
        """What HTTPS_PROXY is set to."""
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def open_web(**places: int) -> Iterator[Web]:
    """Give a proxy for CONNECT."""
    web = Web(dict(places))

    class Handler(BaseHTTPRequestHandler):
        def do_CONNECT(self) -> None:
            """Pass bytes on in both directions."""
            port = web.places.get(self.path)
            if port is None:
                self.send_error(502)
                return
            with socket.create_connection(("127.0.0.1", port)) as other:
                self.send_response(200)
                self.end_headers()
                self.wfile.flush()
                back = threading.Thread(target=_pass_on, args=(other, self.connection), daemon=True)
                back.start()
                _pass_on(self.connection, other)
                back.join()
            self.close_connection = True

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with _Threads(("127.0.0.1", 0), Handler) as server:
        web.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield web
        finally:
            server.shutdown()
            thread.join()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Return certificates of the test's own."""
    return make_authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def registry() -> Iterator[tuple[Registry, Server]]:
    """Return an empty registry without TLS, and its server."""
    ours = Registry()
    with serve(ours.answer) as server:
        yield ours, server


# --- Debian's docker-registry ---------------------------------------------------------------------------------------

USER, PASSWORD = "scientist", "canary:p@ss"
HTPASSWD = "$2b$04$IzluhpJen6z/AWl6eeGq/eityK.RLzI02K02G4cnGCHkNXJvIFs9K"
_LISTENS = re.compile(rb"listening on 127\.0\.0\.1:(\d+)")


@dataclass(frozen=True, slots=True)
class Distribution:
    """A registry of the distribution project's, at work: its port on 127.0.0.1, and its folder."""

    port: int
    folder: Path

    @property
    def host(self) -> str:
        """The name that needs no certificate."""
        return f"127.0.0.1:{self.port}"

    def find(self, path: str) -> dict[str, object]:
        """Return a JSON document that it stores as a blob, by its digest."""
        digest = path.removeprefix("sha256:")
        place = self.folder / "docker/registry/v2/blobs/sha256" / digest[:2] / digest / "data"
        found: dict[str, object] = json.loads(place.read_bytes())
        return found


@contextmanager
def open_distribution(folder: Path, *, auth: str = "", tls: Authority | None = None) -> Iterator[Distribution]:
    """Start docker-registry on a free port; ``auth`` is that part of its configuration. Skips where it is not installed."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("docker-registry is not installed (Debian: docker-registry)")
    folder.mkdir(parents=True, exist_ok=True)
    certificate = f"\n  tls:\n    certificate: {tls.cert}\n    key: {tls.key}" if tls is not None else ""
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\nstorage:\n  filesystem:\n"
        f"    rootdirectory: {folder}\n  delete:\n    enabled: true\nhttp:\n  addr: 127.0.0.1:0\n  secret: x{certificate}\n{auth}"
    )
    environ = {"PATH": os.environ["PATH"], "OTEL_TRACES_EXPORTER": "none"}
    command = [program, "serve", str(folder / "config.yml")]
    log = (folder / "log").open("wb+")
    with log, subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environ) as process:
        try:
            yield Distribution(_wait_for_port(process, folder / "log"), folder)
        finally:
            process.kill()


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    end = time.monotonic() + 20
    while time.monotonic() < end and process.poll() is None:
        if found := _LISTENS.search(log.read_bytes()):
            return int(found[1])
        time.sleep(0.02)  # a program that tells nobody but its log
    raise AssertionError(log.read_text())


@dataclass(slots=True)
class TokenAuthority:
    """A token server for docker-registry: JSON web tokens by RS256, as the distribution project specifies them."""

    folder: Path
    asked: list[Seen] = field(default_factory=list)
    life_s: int = 300

    def make(self) -> None:
        """Make its key and certificate."""
        words = ["-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=tokens", "-days", "2"]
        _openssl(self.folder, "req", *words, "-keyout", "tokens.key", "-out", "tokens.pem")

    def config(self, realm: str) -> str:
        """Return the registry's side of it."""
        rows = {"realm": realm, "service": "registry", "issuer": "tokens", "rootcertbundle": self.folder / "tokens.pem"}
        return "auth:\n  token:\n" + "".join(f"    {name}: {value}\n" for name, value in rows.items())

    def answer(self, seen: Seen) -> Answer:
        """Give a token for all that is asked: to the user; others may pull what is public."""
        self.asked.append(seen)
        login = f"Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}"
        who = seen.headers.get("authorization", "")
        if who not in {"", login}:
            return 401, {"Content-Type": "application/json"}, b'{"errors": []}'
        access = []
        for scope in seen.query.get("scope", []):
            kind, name, actions = scope.split(":")
            allowed = [one for one in actions.split(",") if who or (one == "pull" and name.startswith("public/"))]
            access.append({"type": kind, "name": name, "actions": allowed})
        now = int(time.time())
        claims = {
            "iss": "tokens", "sub": USER if who else "", "aud": "registry", "exp": now + self.life_s, "nbf": now - 10,
            "iat": now, "jti": str(len(self.asked)), "access": access,
        }  # fmt: skip
        reply = {"token": self._sign(claims), "expires_in": self.life_s}
        return 200, {"Content-Type": "application/json"}, json.dumps(reply).encode()

    def _sign(self, claims: dict[str, object]) -> str:
        der = ssl.PEM_cert_to_DER_cert((self.folder / "tokens.pem").read_text())
        header = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        signed = f"{_encode(json.dumps(header).encode())}.{_encode(json.dumps(claims).encode())}"
        command = ["openssl", "dgst", "-sha256", "-sign", str(self.folder / "tokens.key")]
        done = subprocess.run(command, input=signed.encode(), capture_output=True, check=True)
        return f"{signed}.{_encode(done.stdout)}"


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
