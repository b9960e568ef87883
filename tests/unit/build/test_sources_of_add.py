"""ADD of addresses: files over http on this machine, and repositories."""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import os
import shutil
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import pytest

from carboy.base.home import open_home
from carboy.build.copying.select import Source
from carboy.build.graph.ops import Git, Http
from carboy.build.graph.options import BuildOptions
from carboy.build.solver import git as git_program
from carboy.build.solver.checkouts import check_out, fetch_checkout
from carboy.build.solver.downloads import fetch_file
from carboy.build.solver.submodules import MAX_DEPTH, resolve_address
from carboy.errors import CarboyError
from carboy.oci.digest import Digest
from carboy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    monkeypatch.setattr(git_program, "PROTOCOLS", "file")
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


# --- submodules ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("above", "address", "found"),
    [
        ("https://h.example/a/b.git", "../c.git", "https://h.example/a/c.git"),
        ("https://user:pw@h.example/a/b.git", "../../c", "https://user:pw@h.example/c"),
        ("https://h.example/a/", "./sub", "https://h.example/a/sub"),
        ("git@h.example:a/b.git", "../c.git", "git@h.example:a/c.git"),
        ("git@h.example:b.git", "../c.git", "git@h.example:c.git"),
        ("ssh://git@h.example:22/a/b", "../../x/y", "ssh://git@h.example:22/x/y"),
        ("https://h.example/a.git", "https://other.example/c.git", "https://other.example/c.git"),
        ("https://h.example/a.git", "git@other.example:c.git", "git@other.example:c.git"),
    ],
)
def test_where_submodules_come_from(above: str, address: str, found: str) -> None:
    assert resolve_address(above, address) == found


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc", "/etc/repository", "etc/repository", "ext::sh -c touch% /tmp/planted", "ext::sh%x://h", "fd::17/x",
        "--upload-pack=touch /tmp/planted", "-u@h:x", "../../../../etc", "ftp://h.example/x", "http+unix://x", "FILE:///x", "",
    ],
)  # fmt: skip
def test_where_submodules_do_not_come_from(address: str) -> None:
    with pytest.raises(CarboyError, match="has a submodule at"):
        resolve_address("https://user:secret@h.example/a/b.git", address)


def link(place: Path, path: str, commit: str, **settings: str) -> str:
    """Add a submodule without git's own help, which asks for it first, and return the new commit."""
    for key, value in {"path": path, **settings}.items():
        git(place, "config", "--file", ".gitmodules", f"submodule.{path}.{key}", value)
    git(place, "add", ".gitmodules")
    git(place, "update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    git(place, "commit", "--quiet", "--message", "x")
    return git(place, "rev-parse", "HEAD")


def make_library(repository: Path) -> tuple[Path, str]:
    """Return a repository beside another one, and its commit."""
    place = repository.with_name("library")
    place.mkdir()
    (place / "code").write_text("library")
    git(place, "init", "--quiet", "--initial-branch", "main")
    return place, commit(place)


@needs_git
@pytest.mark.slow
def test_submodules_come_along_and_theirs(store: Store, repository: Path) -> None:
    library, inner = make_library(repository)
    (library.parent / "middle").mkdir()
    middle = library.parent / "middle"
    (middle / "own").write_text("middle")
    git(middle, "init", "--quiet", "--initial-branch", "main")
    commit(middle)
    outer = link(middle, "deep/library", inner, url="../library", update="!touch planted", branch="none")
    commit_of_library = commit_again(library)
    link(repository, "vendor/middle", outer, url="../middle")
    link(repository, "left out", commit_of_library, url="../library", update="none")
    url = str(repository)
    found = look(store, Git(url=url))
    wanted = {"vendor/middle/own", "vendor/middle/deep/library/code", "vendor/middle/.gitmodules", "left out"}
    assert wanted <= found
    # The commit that was asked for, not the newest, and no trace of git's own.
    assert not {name for name in found if "new" in name or "planted" in name or name.endswith(".git")}
    assert "vendor/middle/own" not in look(store, Git(url=url, submodules=False))
    assert {"", "own", ".gitmodules"} <= look(store, Git(url=url, subdir="vendor/middle"))


def commit_again(place: Path) -> str:
    (place / "new").touch()
    return commit(place)


@needs_git
@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "settings", "told"),
    [
        ("sub/x", {"url": "file:///etc"}, "builds do not fetch from"),
        ("sub/x", {"url": "ext::sh -c 'touch /tmp/planted'"}, "builds do not fetch from"),
        ("sub/x", {"url": "--upload-pack=touch /tmp/planted"}, "builds do not fetch from"),
        ("sub/x", {}, "no address for the submodule sub/x"),
        ("sub/x", {"url": "../library", "commit": "1" * 40}, "git fetch ended|has no commit"),
    ],
)
def test_submodules_that_are_refused(
    store: Store, repository: Path, monkeypatch: pytest.MonkeyPatch, path: str, settings: dict[str, str], told: str
) -> None:
    _, inner = make_library(repository)
    inner = settings.pop("commit", inner)
    link(repository, path, inner, **settings)
    url = str(repository)
    if "builds do not" in told:
        look(
            store, Git(url=url, submodules=False)
        )  # the repository itself is there, and only its submodules are asked for
        monkeypatch.setattr(git_program, "PROTOCOLS", "http:https:ssh:git")
        head = git(repository, "rev-parse", "HEAD")
        with pytest.raises(CarboyError, match=told):
            look(store, Git(url=url, ref=head))
        return
    with pytest.raises(CarboyError, match=told):
        look(store, Git(url=url))


@needs_git
@pytest.mark.slow
def test_a_chain_of_submodules_has_an_end(store: Store, repository: Path) -> None:
    last = git(repository, "rev-parse", "HEAD")
    for _ in range(MAX_DEPTH + 2):
        last = link(repository, "again", last, url="../repository")
    with pytest.raises(CarboyError, match="more than 10 deep"):
        look(store, Git(url=str(repository)))


def hash_tree(place: Path, *entries: tuple[str, bytes, str]) -> str:
    """Write a tree that git itself would not write, and return its name."""
    data = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(digest) for mode, name, digest in entries)
    command = ["git", "hash-object", "-t", "tree", "-w", "--literally", "--stdin"]
    done = subprocess.run(command, cwd=place, input=data, capture_output=True, check=True)
    return done.stdout.decode().strip()


@needs_git
@pytest.mark.slow
@pytest.mark.parametrize("name", [b"..", b".git", b".GIT", b"link", b"a/../../x", b"/x"])
def test_trees_that_lead_out_of_a_repository(store: Store, repository: Path, tmp_path: Path, name: bytes) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    _, inner = make_library(repository)
    to_victim = _blob(repository, str(victim).encode())
    words = b'[submodule "m"]\n\tpath = %s/m\n\turl = ../library\n' % name
    below = hash_tree(repository, ("160000", b"m", inner))
    entries = [("100644", b".gitmodules", _blob(repository, words)), ("40000", name, below)]
    if name == b"link":
        entries.insert(1, ("120000", name, to_victim))
    tree = hash_tree(repository, *entries)
    head = git(repository, "commit-tree", tree, "-m", "x")
    git(repository, "update-ref", "refs/heads/evil", head)
    before = sorted(path.name for path in tmp_path.iterdir())
    # A folder and a link of one name: git keeps one of them, and what is put there must be in the checkout in any case.
    with contextlib.suppress(CarboyError) if name == b"link" else pytest.raises(CarboyError):
        look(store, Git(url=str(repository), ref="evil"))
    assert list(victim.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == before
    assert name == b"link" or not list((tmp_path / "home").rglob("code"))


def _blob(place: Path, data: bytes) -> str:
    command = ["git", "hash-object", "-w", "--stdin"]
    return subprocess.run(command, cwd=place, input=data, capture_output=True, check=True).stdout.decode().strip()


@needs_git
@pytest.mark.slow
def test_a_kept_git_folder_tells_nothing_of_this_machine(tmp_path: Path, repository: Path) -> None:
    files = []
    for number in range(2):
        store = Store.open(open_home(str(tmp_path / f"home-{number}")))
        op = Git(url=str(repository), keep_git_dir=True)
        folder = fetch_checkout(op, store, BuildOptions(), say=lambda _: None, check=lambda: None)
        found = {path: path.read_bytes() for path in Path(folder.folder, ".git").rglob("*") if path.is_file()}
        assert not {path.name for path in found} & {"FETCH_HEAD", "pre-commit.sample"}
        for path, data in found.items():
            assert b"/home-" not in data, path
        status = subprocess.run(
            ["git", "status", "--short"], cwd=folder.folder, capture_output=True, text=True, check=True
        )
        assert status.stdout == ""
        files.append({str(path).partition("/.git/")[2]: data for path, data in found.items()})
        assert folder.time_s == int(git(repository, "show", "-s", "--format=%ct", "HEAD"))
    assert files[0] == files[1]


@needs_git
@pytest.mark.slow
def test_a_history_has_what_leads_to_the_commit_and_nothing_of_the_clone(store: Store, repository: Path) -> None:
    first = git(repository, "rev-parse", "HEAD")
    git(repository, "checkout", "--quiet", "-b", "side")
    (repository / "aside").touch()
    commit(repository)
    git(repository, "tag", "beside")
    git(repository, "checkout", "--quiet", "main")
    (repository / "new").touch()
    last = commit(repository)
    url = f"file://{repository}"
    look(store, Git(url=url, ref="main"))  # a shallow one, of which the rest is asked for then

    def fetch(ref: str) -> Path:
        found = fetch_checkout(
            Git(url=url, ref=ref), store, BuildOptions(), say=lambda _: None, check=lambda: None, history=True
        )
        assert found.commit == git(repository, "rev-parse", ref)
        return Path(found.folder)

    folder = fetch("main")
    assert git(folder, "describe", "--tags", "--long", "--dirty") == f"v1-1-g{last[:7]}"
    assert git(folder, "for-each-ref", "--format=%(refname) %(objectname)") == f"refs/tags/v1 {first}"
    assert {path.name for path in (folder / ".git").iterdir()} <= {
        "HEAD", "config", "description", "index", "objects", "refs", "shallow",
    }  # fmt: skip
    assert str(store.home.path) not in (folder / ".git" / "config").read_text()
    # The beginning of a commit's name will do.
    assert fetch(last[:9]) == folder
