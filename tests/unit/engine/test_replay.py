"""A build is told again only while all that it depends on is as it was."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import open_home
from carboy.bootstrap.layer import BaseLayer, write_cached
from carboy.build.solver.bases import StoreResolver, find_base_key
from carboy.build.solver.recipes import Bases
from carboy.cli.main import main
from carboy.dockerfile.scope import PROXIES
from carboy.engine.builds import replay
from carboy.engine.builds.replay import VARIABLES, BuildRecord, find_record
from carboy.layers.apply import commit_tree
from carboy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.slow]

ARGUMENTS = ["build", "-f", "web/Dockerfile", "-t", "again:1", "--build-arg", "WORD", "web"]
DOCKERFILE = """FROM base:1
ARG WORD
LABEL word=$WORD
COPY app.py sub /app/
COPY data/*.csv /data/
"""


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a context, old enough to be believed, in the working directory; its base is in an own home."""
    monkeypatch.setenv("CARBOY_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WORD", "one")
    monkeypatch.chdir(tmp_path)
    for name in ("http_proxy", "SOURCE_DATE_EPOCH"):
        monkeypatch.delenv(name, raising=False)
    make_base(tmp_path, "one")
    folder = tmp_path / "web"
    for name in ("sub/deep", "data", "other"):
        (folder / name).mkdir(parents=True)
    for name in ("app.py", "sub/a.py", "sub/deep/b.py", "data/1.csv", "data/notes.txt", "other/c.py"):
        (folder / name).write_text(name)
    (folder / "Dockerfile").write_text(DOCKERFILE)
    (folder / ".dockerignore").write_text("sub/*.log\n")
    settle(folder)
    return folder


def make_base(place: Path, text: str) -> None:
    folder = place / "base"
    folder.mkdir(exist_ok=True)
    (folder / "base").write_text(text)
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY base /\n")
    assert main(["build", "-q", "-f", "base/Dockerfile", "-t", "base:1", "base"]) == 0


def settle(folder: Path) -> None:
    """Wait until the changes of now are told from those to come by their times."""
    newest = max(path.lstat().st_ctime for path in (folder, *folder.rglob("*")))
    while time.time() < newest + 0.06:
        time.sleep(0.01)


def build(*arguments: str) -> None:
    assert main(list(arguments or ARGUMENTS)) == 0


def is_known(*arguments: str) -> bool:
    return find_record((list(arguments) or ARGUMENTS)[1:], os.environ) is not None


def test_the_same_build_is_told_again(web: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not is_known()
    capsys.readouterr()
    build()
    first = capsys.readouterr()
    assert is_known()
    build()
    again = capsys.readouterr()
    assert again.out == first.out
    assert "#4 exporting to image\n#4 CACHED\nbuilt again:1, " in again.err
    log = (web.parent / "home" / "events.log").read_text().splitlines()
    assert sum('"again:1"' in line for line in log) == 3  # the second one was looked up twice


CHANGES: dict[str, Callable[[Path], object]] = {
    "a file": lambda web: (web / "app.py").write_text("app.pY"),
    "a file's time": lambda web: os.utime(web / "app.py", (1, 1)),
    "a file's mode": lambda web: (web / "app.py").chmod(0o755),
    "a file below": lambda web: (web / "sub/deep/b.py").write_text("sub/deep/B.py"),
    "a new file below": lambda web: (web / "sub/new.py").write_text(""),
    "a file below is gone": lambda web: (web / "sub/a.py").unlink(),
    "a folder's mode": lambda web: (web / "sub/deep").chmod(0o700),
    "a folder becomes a link": lambda web: [(web / "sub").rename(web / "real"), (web / "sub").symlink_to("real")],
    "a file becomes a link": lambda web: [(web / "app.py").rename(web / "b.py"), (web / "app.py").symlink_to("b.py")],
    "one more that fits": lambda web: (web / "data/2.csv").write_text(""),
    "the Dockerfile": lambda web: (web / "Dockerfile").write_text(DOCKERFILE + "LABEL b=c\n"),
    "the Dockerfile is gone": lambda web: (web / "Dockerfile").unlink(),
    "what is ignored": lambda web: (web / ".dockerignore").write_text("sub/a.py\n"),
    "nothing is ignored": lambda web: (web / ".dockerignore").unlink(),
    "ignored beside": lambda web: (web / "Dockerfile.dockerignore").write_text("sub/a.py\n"),
    "the base": lambda web: make_base(web.parent, "two"),
    "the name": lambda web: main(["rmi", "again:1"]),
    "the name of another": lambda web: main(["tag", "base:1", "again:1"]),
    "the cache": lambda web: main(["system", "prune", "--all"]),
    "a variable": lambda web: os.environ.__setitem__("WORD", "two"),
    "no variable": lambda web: os.environ.__delitem__("WORD"),
    "a proxy": lambda web: os.environ.__setitem__("http_proxy", "http://127.0.0.1:9"),
    "the times of files": lambda web: os.environ.__setitem__("SOURCE_DATE_EPOCH", "5"),
    "the tier": lambda web: os.environ.__setitem__("CARBOY_TIER", "root"),
    "the table of bases": lambda web: (web.parent / "home/config.toml").write_text(""),
    "another folder": lambda web: [shutil.copytree(web.parent, web.parent / "two"), os.chdir(web.parent / "two")],
    "another carboy": lambda web: setattr(replay, "FORMAT", 0),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=list(CHANGES))
def test_a_change_is_a_build(web: Path, change: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch) -> None:
    build()
    assert is_known()
    monkeypatch.setattr(replay, "FORMAT", replay.FORMAT)
    for name in ("http_proxy", "SOURCE_DATE_EPOCH", "CARBOY_TIER"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    change(web)
    assert not is_known()


@pytest.mark.parametrize(
    "change",
    [
        lambda web: (web / "other/c.py").write_text("changed"),
        lambda web: (web / "sub/a.log").write_text("changed"),
        lambda web: (web / "data/notes.txt").write_text("changed"),
    ],
    ids=["never copied", "ignored", "fits no pattern"],
)
def test_what_the_image_is_not_made_of_changes_nothing(web: Path, change: Callable[[Path], object]) -> None:
    (web / "sub/a.log").write_text("first")
    build()
    change(web)
    assert is_known()


def test_every_blob_of_the_image_is_needed(web: Path) -> None:
    build()
    folder = web.parent / "home/store/blobs/sha256"
    record = find_record(ARGUMENTS[1:], os.environ)
    assert record is not None
    assert len(record.blobs) == 5
    for name in record.blobs:
        (folder / name).rename(web.parent / "aside")
        assert not is_known()
        (web.parent / "aside").rename(folder / name)
    assert is_known()


def test_a_file_that_was_just_written_is_not_believed(web: Path) -> None:
    text = "import os,sys,time; sys.argv[0]='carboy'; from carboy.build.context import scan; scan._FRESH_NS=10**12;"
    text += f"from carboy.cli.main import main; sys.exit(main({ARGUMENTS!r}))"
    subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, cwd=web.parent)
    assert not is_known()
    build()
    assert is_known()


@pytest.mark.parametrize(
    "options",
    [
        ("--no-cache",), ("--no-cache-filter", "x"), ("--pull",), ("--json",), ("--iidfile", "iid"), ("--check",),
        ("--secret", "id=WORD"), ("--build-context", "more=web/other"),
    ],
)  # fmt: skip
def test_what_is_more_than_files_is_not_told_again(web: Path, options: tuple[str, ...]) -> None:
    arguments = ["build", *options, *ARGUMENTS[1:]]
    build(*arguments)
    assert not is_known(*arguments)
    build()
    assert not is_known(*arguments)


def test_an_image_for_several_platforms_is_not_told_again(web: Path) -> None:
    """Each of its builds knows one platform only."""
    (web / "Dockerfile").write_text("FROM scratch\nCOPY app.py /\n")
    arguments = ["build", "--platform", "linux/amd64,linux/arm64", *ARGUMENTS[1:]]
    build(*arguments)
    assert not is_known(*arguments)


@pytest.mark.parametrize(
    "line",
    [
        "COPY link /x/",
        "COPY d*/*.csv /x/",
        "COPY --parents sub/a.py /x/",
        "COPY none*/x /x/",
        "COPY --from=base:1 / /x/",
    ],
)
def test_links_and_wide_patterns(web: Path, line: str) -> None:
    """What depends on more than is noted is built; what a base gives is noted by its name."""
    (web / "link").symlink_to("app.py")
    (web / "Dockerfile").write_text(f"FROM scratch\nCOPY app.py /\n{line}\n")
    settle(web)
    build()
    assert is_known() == ("base" in line)


@pytest.mark.parametrize(
    "change",
    [
        lambda web, note: note(8),
        lambda web, note: os.environ.__setitem__("CARBOY_MIRROR", "http://127.0.0.1:9/debian"),
        lambda web, note: main(["tag", "base:1", "debian:bookworm"]),
        lambda web, note: (web.parent / "home/config.toml").write_text(""),
    ],
    ids=["made again", "from elsewhere", "now an image", "the table"],
)
def test_a_base_that_is_made_here_counts(
    web: Path, change: Callable[[Path, Callable[[int], None]], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if Debian's base had been made: its note in the store is what names it."""
    monkeypatch.delenv("CARBOY_MIRROR", raising=False)
    store = Store.open(open_home(str(web.parent / "home")))
    asked = StoreResolver(store, Bases(store.home.path)).resolve("debian:bookworm", platform=None)
    key, _ = find_base_key(asked, environ=os.environ)
    with store.layers.ingest_dir() as ingest:
        layer = commit_tree(store, ingest, mtime_cap=0)

    def note(epoch_s: int) -> None:
        base = BaseLayer(
            diff_id=layer.diff_id, size_bytes=layer.size_bytes, packages=(), archive={}, epoch_s=epoch_s
        )  # fmt: skip
        write_cached(store, key, base)

    note(7)
    (web / "Dockerfile").write_text("FROM debian:bookworm\nCOPY app.py /\n")
    build()
    assert is_known()
    monkeypatch.setenv("CARBOY_MIRROR", "")
    monkeypatch.delenv("CARBOY_MIRROR")
    change(web, note)
    assert not is_known()


@pytest.mark.parametrize("name", ["carboy.toml", "Dockerfile"])
def test_the_choice_of_the_front_end_counts(web: Path, name: str) -> None:
    (web / "Dockerfile").rename(web / "Containerfile")
    arguments = ["build", "-t", "again:1", "web"]
    build(*arguments)
    assert is_known(*arguments)
    (web / name).write_text("")
    assert not is_known(*arguments)


def test_a_damaged_record_is_none(web: Path) -> None:
    build()
    record = find_record(ARGUMENTS[1:], os.environ)
    assert record is not None
    data = record.encode()
    assert BuildRecord.decode(data) is not None
    assert not any(BuildRecord.decode(data[:length]) for length in range(0, len(data), 7))
    assert BuildRecord.decode(b"garbage") is None


def test_the_variables_are_those_of_the_language() -> None:
    assert set(VARIABLES) == {*PROXIES, "SOURCE_DATE_EPOCH"}


def test_telling_again_imports_little(web: Path) -> None:
    build("build", "-q", *ARGUMENTS[1:])
    text = "import sys; before = set(sys.modules); from carboy.cli.main import main\n"
    text += (
        f"main({['build', '-q', *ARGUMENTS[1:]]!r}); print(len(set(sys.modules) - before), *set(sys.modules) - before)"
    )
    done = subprocess.run([sys.executable, "-c", text], check=True, capture_output=True, text=True, cwd=web.parent)
    count, *names = done.stdout.splitlines()[-1].split()
    assert int(count) < 50, names
    assert not {"re", "json", "dataclasses", "typing", "enum", "msgspec", "argparse", "hashlib"} & set(names)
