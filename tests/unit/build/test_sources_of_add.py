"""ADD of addresses: files over http on this machine, and repositories."""

from __future__ import annotations

import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from typing import TYPE_CHECKING, ClassVar

import pytest

from carboy.base.home import open_home
from carboy.build.copying.select import Source
from carboy.build.graph.ops import Git, Http
from carboy.build.graph.options import BuildOptions
from carboy.build.solver import checkouts
from carboy.build.solver.checkouts import check_out
from carboy.build.solver.downloads import fetch_file
from carboy.errors import CarboyError
from carboy.oci.digest import Digest
from carboy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ENVIRON = {"no_proxy": "*"}


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves one file that can change, and knows conditions."""

    content = b"data"
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        etag = hashlib.sha256(self.content).hexdigest()
        known = self.headers.get("If-None-Match") == etag
        type(self).asked.append(f"{self.path} {'known' if known else 'new'}")
        if self.path != "/file.txt":
            self.send_error(404)
            return
        self.send_response(304 if known else 200)
        self.send_header("ETag", etag)
        self.send_header("Last-Modified", "Fri, 02 Jan 1970 00:00:00 GMT")
        self.end_headers()
        if not known:
            self.wfile.write(self.content)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.asked, Handler.content = [], b"data"
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(open_home(str(tmp_path / "home")))


def fetch(store: Store, url: str, checksum: bytes | None = None) -> tuple[bytes, int, bool]:
    wanted = None if checksum is None else Digest.of(checksum)
    view, cached = fetch_file(Http(url=url, filename="f", checksum=wanted), store, ENVIRON, check=lambda: None)
    (selected,) = view.select(Source(path="f"))
    (item,) = list(selected.open_items())
    assert item.open is not None
    with item.open() as reader:
        return bytes(reader.read(100)), item.mtime_ns, cached


@pytest.mark.slow
def test_trap_49_a_file_is_fetched_and_asked_for_again(store: Store, server: str) -> None:
    url = f"{server}/file.txt"
    assert fetch(store, url) == (b"data", 86400 * 10**9, False)
    assert fetch(store, url) == (b"data", 86400 * 10**9, True)
    Handler.content = b"other"
    assert fetch(store, url)[0] == b"other"
    assert Handler.asked == ["/file.txt new", "/file.txt known", "/file.txt new"]


@pytest.mark.slow
def test_with_a_checksum_nobody_is_asked_twice(store: Store, server: str) -> None:
    url = f"{server}/file.txt"
    fetch(store, url, b"data")
    assert fetch(store, url, b"data")[2]
    assert len(Handler.asked) == 1
    with pytest.raises(CarboyError, match="is not what its checksum says"):
        fetch(store, url, b"something else")


@pytest.mark.slow
@pytest.mark.parametrize(("path", "words"), [("/none", "404"), ("/file.txt", "refused")])
def test_what_cannot_be_fetched(store: Store, server: str, path: str, words: str) -> None:
    url = f"{server}{path}" if words == "404" else "http://user:secret@127.0.0.1:9/file.txt"
    with pytest.raises(CarboyError, match="cannot be fetched") as caught:
        fetch(store, url)
    assert words in caught.value.details
    assert "secret" not in caught.value.brief + caught.value.details


# --- repositories -------------------------------------------------------------------------------------------------

needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a repository with a file, a folder, a link out of it, and a hook."""
    # A path is no address that a Dockerfile could name; here it stands for a server.
    monkeypatch.setattr(checkouts, "_PROTOCOLS", "file")
    place = tmp_path / "repository"
    place.mkdir()
    (place / "file").write_text("one")
    (place / "sub").mkdir()
    (place / "sub" / "program").write_text("#!/bin/sh\n")
    (place / "sub" / "program").chmod(0o755)
    (place / "out").symlink_to("/etc")
    git(place, "init", "--quiet", "--initial-branch", "main")
    commit(place)
    git(place, "tag", "v1")
    return place


def git(place: Path, *arguments: str) -> str:
    environ = {"PATH": os.environ["PATH"], "HOME": str(place), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    done = subprocess.run(["git", *who, *arguments], cwd=place, env=environ, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(place: Path) -> str:
    git(place, "add", "--all")
    git(place, "commit", "--quiet", "--message", "x")
    return git(place, "rev-parse", "HEAD")


def look(store: Store, op: Git) -> set[str]:
    view, _ = check_out(op, store, BuildOptions(), say=lambda _: None, check=lambda: None)
    (selected,) = view.select(Source(path="/", wildcards=False))
    return {os.fsdecode(b"/".join(item.parts)) for item in selected.open_items() if b".git" not in item.parts[:1]}


@needs_git
@pytest.mark.slow
def test_trap_51_a_repository_is_checked_out(store: Store, repository: Path) -> None:
    url = str(repository)
    assert look(store, Git(url=url)) == {"", "file", "sub", "sub/program", "out"}
    assert look(store, Git(url=url, ref="v1", subdir="sub")) == {"", "program"}
    (repository / "new").touch()
    last = commit(repository)
    assert "new" in look(store, Git(url=url, ref="main"))
    assert "new" not in look(store, Git(url=url, ref="v1"))
    assert "new" in look(store, Git(url=url, ref=last))
    assert "new" in look(store, Git(url=url, ref="main", checksum=last[:12]))
    view, cached = check_out(
        Git(url=url, ref="main", keep_git_dir=True), store, BuildOptions(), say=lambda _: None, check=lambda: None
    )
    (selected,) = view.select(Source(path=".git", wildcards=False))
    assert selected.is_folder
    assert not cached
    with pytest.raises(CarboyError, match="checksum"):
        look(store, Git(url=url, ref="v1", checksum=last))


@needs_git
@pytest.mark.slow
@pytest.mark.parametrize(
    "op",
    [
        {"ref": "--upload-pack=touch /tmp/planted"},
        {"ref": "main..v1"},
        {"subdir": "out"},
        {"subdir": "../.."},
        {"subdir": "none"},
    ],
)
def test_what_leads_out_of_a_repository_is_refused(store: Store, repository: Path, op: dict[str, str]) -> None:
    if op == {"subdir": "../.."}:  # is the top, as in a path of the repository's own
        assert "file" in look(store, Git(url=str(repository), **op))
        return
    with pytest.raises(CarboyError):
        look(store, Git(url=str(repository), **op))


@needs_git
@pytest.mark.slow
def test_an_option_in_place_of_an_address_is_none(store: Store, repository: Path) -> None:
    del repository
    with pytest.raises(CarboyError, match="git fetch ended"):
        look(store, Git(url="--upload-pack=touch /tmp/planted"))
