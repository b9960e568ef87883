"""Row 70 of the hardening tables: what a build is given in confidence is in no byte of what it leaves or says.

Each secret is a word that stands nowhere else. After builds that use all of them, the whole home is read (blobs unpacked,
the database, caches, records, events), all that was printed, plans and descriptions, and what is in temporary folders.
"""

from __future__ import annotations

import base64
import functools
import gzip
import http.server
import os
import shutil
import socket
import subprocess
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import quote

import certifi
import pytest
from small_image import make_small_image

from carboy.base.credentials import find_credentials, redact

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockerfiles import Builder

    from conftest import Carboy

pytestmark = [pytest.mark.root, pytest.mark.userns, pytest.mark.slow]

NAMES = (
    "file", "variable", "multi", "agent", "proxy-of-the-host", "proxy-of-the-build", "index", "more-index", "links", "authority",
    "git", "git-context", "url", "argument", "mirror",
)  # fmt: skip
CANARY = {name: f"canary-{name}-5f1d9c" for name in NAMES}
# An "@" in a password, which is written as %40, and a token in place of a user.
CANARY["proxy-of-the-build"] = "canary@proxy-of-the-build-5f1d9c"
DOCKERFILE = """# check=skip=none
FROM small:test AS fetched
ARG TOKEN
ADD {git} /git/
ADD {url} /url
ADD http://$TOKEN@{host}/file /again
FROM small:test
COPY --from=fetched /git/word /url /again /got/
COPY --from=further word /got/context
ARG http_proxy
RUN --mount=type=secret,id=file --mount=type=secret,id=variable,env=VARIABLE --mount=type=secret,id=multi,target=/m \\
    --mount=type=ssh \\
    test "$(cat /run/secrets/file)" -a "$VARIABLE" -a -S "$SSH_AUTH_SOCK" || exit 9; \\
    env | sort; cat /run/secrets/file /m "$SSL_CERT_FILE"; echo " $VARIABLE"; echo $PIP_INDEX_URL >&2
RUN env | sort; echo "proxies $HTTPS_PROXY $https_proxy $http_proxy"; echo $PIP_EXTRA_INDEX_URL $PIP_FIND_LINKS
RUN --mount=type=secret,id=variable,env=VARIABLE {last}
"""


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder to whoever has a password, or a token for a user."""

    users: ClassVar[set[str]] = set()

    def do_GET(self) -> None:
        kind, _, value = self.headers.get("Authorization", "").partition(" ")
        if kind != "Basic":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="x"')
            self.end_headers()
            return
        type(self).users.add(base64.b64decode(value).decode())
        super().do_GET()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def host(tmp_path: Path) -> Iterator[str]:
    """Return the address of a server with a file and a repository."""
    folder = tmp_path / "served"
    folder.mkdir()
    (folder / "file").write_text("file\n")
    (folder / "work").mkdir()
    (folder / "work" / "word").write_text("repository\n")
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main")
    for words in (("init", "-q"), ("add", "."), ("commit", "-qm", "x"), ("clone", "-q", "--bare", ".", "../bare.git")):
        subprocess.run([*git, *words], cwd=folder / "work", check=True, capture_output=True)
    subprocess.run([*git, "update-server-info"], cwd=folder / "bare.git", check=True)
    Handler.users.clear()
    handler = functools.partial(Handler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.fixture
def agent(builder: Builder) -> Iterator[str]:
    """Return the socket of an agent, in a folder whose name is nobody's business."""
    folder = builder.folder.with_name(f"{CANARY['agent']}-{os.urandom(2).hex()}")
    folder.mkdir()
    path = str(folder / "agent")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(path)
        listening.listen()
        for each in (folder, path):
            shutil.chown(each, builder.carboy.person.uid, builder.carboy.person.gid)
        yield path
    shutil.rmtree(folder)


def read_all(place: Path, *, since_ns: int = 0) -> Iterator[tuple[Path, bytes]]:
    """Yield every file below a place, its name in front of its bytes, compressed ones as they are and unpacked.

    Those that nobody has touched ``since_ns`` are left out.
    """
    for path in place.rglob("*"):
        if path.lstat().st_ctime_ns < since_ns:
            continue
        data = os.fsencode(str(path.relative_to(place))) + b"\0"
        if path.is_symlink():
            data += os.fsencode(path.readlink())
        elif path.is_file():
            content = path.read_bytes()
            data += content
            if content.startswith(b"\x1f\x8b"):
                data += gzip.decompress(content)
        yield path, data


def find_canaries(data: bytes) -> set[str]:
    """Return whose words are in some bytes: as they are, in base64, or with % for what is special."""
    found = set()
    for name, word in CANARY.items():
        forms = {
            word,
            quote(word, safe=""),
            *(base64.b64encode(b"x" * n + word.encode()).decode()[4:20] for n in range(3)),
        }
        if any(form.encode() in data for form in forms):
            found.add(name)
    return found


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
@pytest.mark.long
@pytest.mark.parametrize("tier_carboy", ["root", "subuid"], indirect=True)
def test_no_secret_of_a_build_is_anywhere_afterwards(builder: Builder, host: str, agent: str) -> None:
    # A home that nothing else has been in: all of it is read.
    home = builder.carboy.using(builder.carboy.home.with_name(f"{builder.folder.name}-home"))
    make_small_image(home)
    builder = replace(builder, carboy=home)
    person = builder.carboy.person
    outside = builder.folder.with_name(f"outside-{os.urandom(4).hex()}")
    outside.mkdir()
    (outside / "file").write_text(CANARY["file"])
    (outside / "multi").write_text(f"first\n{CANARY['multi']}\n")
    authority = Path(certifi.where()).read_text().partition("-----END CERTIFICATE-----")
    (outside / "ca.pem").write_text(f"# {CANARY['authority']}\n{''.join(authority[:2])}\n")
    for path in (outside, *outside.iterdir()):
        shutil.chown(path, person.uid, person.gid)
    variables = {
        "WORD": CANARY["variable"],
        "SSH_AUTH_SOCK": agent,
        "HTTPS_PROXY": f"http://ana:{CANARY['proxy-of-the-host']}@127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
        "PIP_CONFIG_FILE": "/dev/null",
        "PIP_INDEX_URL": f"https://ana:{CANARY['index']}@127.0.0.1:9/simple",
        "PIP_EXTRA_INDEX_URL": f"https://{CANARY['more-index']}@127.0.0.1:9/simple",
        "PIP_FIND_LINKS": f"https://ana:{CANARY['links']}@127.0.0.1:9/links",
        "CARBOY_MIRROR": f"http://ana:{CANARY['mirror']}@127.0.0.1:9/debian",
        "SSL_CERT_FILE": str(outside / "ca.pem"),
        "TOKEN": CANARY["argument"],
    }
    options = (
        "--secret", f"id=file,src={outside}/file", "--secret", "id=variable,env=WORD",
        "--secret", f"id=multi,src={outside}/multi",
        "--ssh", "default", "--build-arg", "TOKEN",
        "--build-arg", f"http_proxy=http://ana:{quote(CANARY['proxy-of-the-build'], safe='')}@127.0.0.1:9",
        "--build-context", f"further=http://ana:{CANARY['git-context']}@{host}/bare.git#main",
        "--no-cache-filter", "fetched",
    )  # fmt: skip
    text = DOCKERFILE.format(
        git=f"http://ana:{CANARY['git']}@{host}/bare.git#main", url=f"http://ana:{CANARY['url']}@{host}/file", host=host,
        last="true",
    )  # fmt: skip
    tag = f"{builder.folder.name}:1"
    # As it comes from a folder whose Dockerfile is known to hold some of them: that one is not among what is read.
    runner = builder.carboy.using(builder.carboy.home, **variables)
    said = {}
    cache = builder.folder.with_name(f"{builder.folder.name}-cache")
    cache.mkdir()
    shutil.chown(cache, person.uid, person.gid)
    # What mode=max of a provenance says is in tests/e2e/test_attestations.py: arguments that are no proxies are a part of it.
    outputs = ("--cache-to", f"type=local,dest={cache},mode=max", "--output", f"type=oci,dest={cache}/image.tar")
    outputs += (
        "--output",
        "type=image",
        "--provenance",
        "true",
        "--sbom",
        "true",
        "--metadata-file",
        f"{cache}/metadata",
    )
    arguments = builder.arguments(text, *options, "-t", tag, *outputs)
    for name, command in {
        "build": arguments,
        "build again": arguments,
        "plan": ["plan", "--json", *options, str(builder.folder)],
        "check": ["build", "--check", *options, str(builder.folder)],
        "run": ["run", "--rm", "--network", "none", tag, "sh", "-c", "env; cat /proc/1/mountinfo; ls -R /run /got"],
        "inspect": ["inspect", tag],
        "history": ["history", "--no-trunc", tag],
        "events": ["events", "--since", "0", "--until", "0s"],
    }.items():
        done = runner(*command, expect=None)
        said[name] = done.stdout + done.stderr
        if name in {"build", "build again", "plan", "run", "inspect"}:
            assert done.returncode == 0, said[name]
    # Two that fail: what the step printed is shown once more, with its lines of the Dockerfile.
    failing = text.replace(
        "RUN --mount=type=secret,id=variable,env=VARIABLE true",
        "RUN --mount=type=secret,id=variable,env=VARIABLE env; exit 3",
    )
    assert failing != text
    said["failing"] = runner(*builder.arguments(failing, *options), expect=1).stderr
    wrong = text.replace("/bare.git#main /git/", "/no-such.git#main /git/")
    said["wrong address"] = runner(*builder.arguments(wrong, *options), expect=1).stderr
    assert find_canaries(text.encode()) == {"git", "url"}
    for path, words in ((f"{outside}/file", "is not the socket of an agent"), (f"{outside}/none", "there is no")):
        assert words in runner(*builder.arguments("FROM small:test\n", "--ssh", f"default={path}"), expect=1).stderr
    # All of them were there: else the test would show nothing.
    assert {f"ana:{CANARY[name]}" for name in ("git", "git-context", "url")} <= Handler.users
    assert f"{CANARY['argument']}:" in Handler.users
    assert "proxies http://***@127.0.0.1:9 http://***@127.0.0.1:9 http://***@127.0.0.1:9" in said["build"]
    assert said["build"].count("***") > 10
    leaks = {name: find_canaries(words.encode()) for name, words in said.items()}
    # The path of the CA's file is no secret, and its content is public, but it is in no layer; `cat` has shown it here.
    for name in ("build", "failing"):
        leaks[name] -= {"authority"}
    # A build argument that is no proxy is a part of the history, as everywhere; the language's checks say so.
    for name in ("history", "inspect"):
        leaks[name] -= {"argument"}
    assert leaks == {name: set() for name in said}
    leftovers = {}
    assert {"image.tar", "metadata", "blobs"} <= set(os.listdir(cache))
    for place in (builder.carboy.home, builder.carboy.temporary, cache):
        for path, data in read_all(place):
            found = find_canaries(data)
            if found:
                leftovers[str(path)] = found
    assert leftovers == {}
    for folder in (outside, cache, builder.carboy.home):
        shutil.rmtree(folder)


def make_index(folder: Path) -> None:
    """Write an index with the package tinything."""
    place = folder / "simple" / "tinything"
    place.mkdir(parents=True)
    info = "tinything-1.0.dist-info"
    files = {
        "tinything.py": "x = 1\n",
        f"{info}/METADATA": "Metadata-Version: 2.1\nName: tinything\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: x\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{name},,\n" for name in (*files, f"{info}/RECORD"))
    wheel = "tinything-1.0-py3-none-any.whl"
    with zipfile.ZipFile(place / wheel, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    (place / "index.html").write_text(f'<a href="{wheel}">{wheel}</a>')


@pytest.mark.long
@pytest.mark.network
@pytest.mark.timeout(300)
def test_no_secret_of_a_folder_of_python_is_anywhere_afterwards(shared_carboy: Carboy, tmp_path: Path) -> None:
    make_index(tmp_path / "served")
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "requirements.txt").write_text("tinything\n")
    (folder / "main.py").write_text("import tinything\nprint(tinything.x)\n")
    handler = functools.partial(Handler, directory=str(tmp_path / "served"))
    Handler.users.clear()
    since_ns = tmp_path.stat().st_ctime_ns
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        host = f"127.0.0.1:{server.server_address[1]}"
        runner = shared_carboy.using(
            shared_carboy.home,
            PIP_CONFIG_FILE="/dev/null",
            PIP_FIND_LINKS="",
            PIP_INDEX_URL=f"http://ana:{CANARY['index']}@{host}/simple",
            PIP_EXTRA_INDEX_URL=f"http://{CANARY['more-index']}@{host}/simple",
            NO_PROXY="127.0.0.1",
            HTTPS_PROXY=f"http://ana:{CANARY['proxy-of-the-host']}@127.0.0.1:9",
        )
        said = [runner("build", str(folder), "-t", "secrets-of-python:1"), runner("run", "--rm", "secrets-of-python:1")]
        assert said[-1].stdout == "1\n"
        said += [runner("plan", "--json", str(folder)), runner("inspect", "secrets-of-python:1")]
        (folder / "requirements.txt").write_text("tinything\nno-such-thing-at-all\n")
        said.append(runner("build", str(folder), expect=1))
        server.shutdown()
    assert f"ana:{CANARY['index']}" in Handler.users
    for done in said:
        assert find_canaries((done.stdout + done.stderr).encode()) == set(), done.args
    for place in (shared_carboy.home, shared_carboy.temporary):
        assert {
            str(path): found for path, data in read_all(place, since_ns=since_ns) if (found := find_canaries(data))
        } == {}


def test_what_of_an_address_is_secret() -> None:
    assert (
        redact("a http://u:p@h/x https://t@h ssh://git@h:22/x u@h")
        == "a http://***@h/x https://***@h ssh://***@h:22/x u@h"
    )
    assert redact("http://u:p@ss@h/x") == "http://***@h/x"
    assert redact("http://h/x@y") == "http://h/x@y"
    found = find_credentials(["http_proxy=http://u:p%40q@h:1 https://ghp_0123456789@h", "https://git@h", "http://h"])
    assert found == ["u:p%40q", "p%40q", "p@q", "ghp_0123456789"]
