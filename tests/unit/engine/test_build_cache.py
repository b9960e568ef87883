"""What builds keep: what there is, in which order it goes, what stays because somebody needs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from carboy.base.home import Home, open_home
from carboy.build.graph.ops import CacheMount
from carboy.build.running.caches import CacheFolders, list_caches, remove_cache
from carboy.cli.commands.builds.builder import read_request
from carboy.cli.main import main
from carboy.engine.builds.cache import (
    DOWNLOADS,
    GIT,
    LOCAL,
    MOUNT,
    REGULAR,
    CachePiece,
    PruneRequest,
    find_cached_only,
    list_pieces,
    plan_prune,
    prune_pieces,
)
from carboy.engine.context import Engine
from carboy.errors import CarboyError
from carboy.oci.digest import Digest
from carboy.store.store import Store
from carboy.store.usage import measure


def piece(name: str, size: int, used_s: float, **more: object) -> CachePiece:
    return CachePiece(
        id=name, type=str(more.pop("type", MOUNT)), description="", size_bytes=size, used_s=used_s, **more
    )  # type: ignore[arg-type]


PIECES = [
    piece("new", 10, 30),
    piece("old", 10, 10),
    piece("held", 10, 5, in_use=True),
    piece("image's", 0, 1, shared=True, type=REGULAR),
    piece("middle", 10, 20, type=GIT),
]


@pytest.mark.parametrize(
    ("request_", "gone"),
    [
        (PruneRequest(), ["old", "middle", "new"]),
        (PruneRequest(everything=True), ["image's", "old", "middle", "new"]),
        (PruneRequest(keep_bytes=25), ["old", "middle"]),
        (PruneRequest(keep_bytes=40), []),
        (PruneRequest(keep_bytes=39), ["old"]),
        (PruneRequest(until_s=20), ["old"]),
        (PruneRequest(types=frozenset({GIT})), ["middle"]),
        (PruneRequest(types=frozenset({GIT}), keep_bytes=10), []),
    ],
)
def test_the_least_recently_used_goes_first(request_: PruneRequest, gone: list[str]) -> None:
    assert [one.id for one in plan_prune(PIECES, request_)] == gone


def test_what_is_asked_for() -> None:
    now_s = time.time()
    request = read_request(["until=24h", "type=exec.cachemount"], everything=False, keep_storage="1.5g")
    assert request.until_s is not None
    assert abs(request.until_s - (now_s - 86_400)) < 60
    assert (request.keep_bytes, request.types) == (3 * 2**29, frozenset({MOUNT}))
    for filters, size in ((["until=soon"], ""), (["type=x"], ""), (["x=y"], ""), ([], "much")):
        with pytest.raises(CarboyError) as caught:
            read_request(filters, everything=False, keep_storage=size)
        assert caught.value.code == 2


pytestmark = pytest.mark.root


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Return a home in which an image was built, and changed, and built again under the same name."""
    monkeypatch.setenv("CARBOY_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "web"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY first /\nCOPY second /\n")
    (folder / "first").write_bytes(os.urandom(70_000))
    for _ in range(2):
        (folder / "second").write_bytes(os.urandom(70_000))
        while time.time() < (folder / "second").stat().st_ctime + 0.06:
            time.sleep(0.01)  # what was just written is not remembered
        assert main(["build", "-q", "-t", "web:1", "web"]) == 0
    home = open_home(str(tmp_path / "home"))
    for name in ("git/abc/objects.git", "archives", "uv-multi/wheels"):
        os.makedirs(f"{home.cache}/{name}")
        Path(f"{home.cache}/{name}/file").write_bytes(bytes(9000))
    with CacheFolders(home, kind="multi").open(CacheMount(target="/c", id="pip")) as cache:
        Path(cache.data, "wheel").write_bytes(bytes(9000))
    return Engine.open(os.environ)


def types(engine: Engine) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in list_pieces(engine):
        found[one.type] = found.get(one.type, 0) + 1
    return found


@pytest.mark.slow
def test_all_kinds_are_listed_and_go(built: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    before = types(built)
    assert (before[REGULAR], before[MOUNT], before[GIT], before[LOCAL], before[DOWNLOADS]) == (3, 1, 1, 1, 2)
    assert [one.shared for one in list_pieces(built) if one.type == REGULAR].count(True) == 2
    capsys.readouterr()
    assert main(["builder", "prune", "--dry-run"]) == 0
    would = capsys.readouterr().out.splitlines()
    assert types(built) == before
    assert main(["builder", "prune", "-f"]) == 0
    did = capsys.readouterr().out.splitlines()
    assert did[-1] == would[-1].replace("would free", "freed")
    assert sorted(did[:-1]) == sorted(would[:-1])
    assert types(built) == {REGULAR: 2}
    assert main(["system", "check"]) == 0
    assert main(["builder", "prune", "--all"]) == 0
    assert types(built) == {}
    assert built.store.refs.find_digest("docker.io/library/web:1")
    assert main(["build", "-q", "-t", "web:1", "web"]) == 0


@pytest.mark.slow
def test_du_and_df_show_it(built: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["builder", "du"]) == 0
    text = capsys.readouterr().out
    assert "cache mount pip" in text
    assert "Reclaimable: " in text
    assert main(["builder", "du", "--json", "--filter", "type=exec.cachemount"]) == 0
    (one,) = json.loads(capsys.readouterr().out)
    assert (one["type"], one["in_use"]) == (MOUNT, False)
    assert one["size_bytes"] >= 9000
    assert main(["system", "df", "--json"]) == 0
    rows = {row["kind"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["downloads"]["size_bytes"] >= 18_000
    assert rows["build cache"]["reclaimable_bytes"] >= 18_000
    # Content of the store that only the next build needs is counted there, and there only.
    only = find_cached_only(list_pieces(built))
    assert only
    stored = rows["blobs"]["size_bytes"] + rows["unpacked layers"]["size_bytes"]
    assert stored + sum(only.values()) == sum(row.size_bytes for row in measure(built.store)[:2])
    assert main(["system", "prune"]) == 0
    assert "more are kept for the next build: `carboy builder du`" in capsys.readouterr().err


@pytest.mark.slow
def test_system_prune_all_removes_downloads_and_caches(built: Engine, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["system", "prune", "--all", "--dry-run"]) == 0
    assert types(built)[DOWNLOADS] == 2
    assert main(["system", "prune", "--all"]) == 0
    assert types(built) == {}
    assert ", 5 folders of the build cache and downloads" in capsys.readouterr().out
    assert [name for name in os.listdir(f"{built.home.cache}/mounts/multi") if name != "lock"] != []
    assert list_caches(built.home) == []


@pytest.mark.slow
def test_what_a_build_holds_stays(built: Engine) -> None:
    """A lease stands for a build that runs; its cache mounts are locked."""
    other = Store(built.home, kind="multi")
    with other.lease("build"), CacheFolders(built.home, kind="multi").open(CacheMount(target="/c", id="pip")):
        listed = list_pieces(built)
        (unshared,) = [one.digest for one in listed if one.digest and not one.shared]
        assert other.blobs.has(Digest.parse(unshared))  # as a build does that finds its step
        gone = prune_pieces(built, plan_prune(listed, PruneRequest()))
        assert not {one.type for one in gone} & {REGULAR, MOUNT, GIT, DOWNLOADS}
        assert {REGULAR: 3, MOUNT: 1, GIT: 1, DOWNLOADS: 2}.items() <= types(built).items()
        assert {one.type for one in list_pieces(built) if one.in_use} >= {MOUNT, GIT, DOWNLOADS, REGULAR}
    assert main(["builder", "prune"]) == 0
    assert types(built) == {REGULAR: 2}


@pytest.mark.slow
def test_opening_and_cleaning_a_cache_at_once(built: Engine) -> None:
    """Whoever opens a cache has one that is there, whatever is removed meanwhile."""
    caches = CacheFolders(built.home, kind="multi")
    stop = threading.Event()
    removed: list[bool] = []

    def clean() -> None:
        while not stop.is_set():
            removed.extend(remove_cache(built.home, cache) for cache in list_caches(built.home))

    thread = threading.Thread(target=clean)
    thread.start()
    try:
        for turn in range(200):
            sharing = ("shared", "locked", "private")[turn % 3]
            with caches.open(CacheMount(target="/c", id="pip", sharing=sharing)) as cache:  # type: ignore[arg-type]
                Path(cache.data, "mark").write_text("x")
                assert os.listdir(cache.data)
    finally:
        stop.set()
        thread.join()
    assert any(removed)


@pytest.mark.slow
@pytest.mark.parametrize("where", ["before", "after"])
def test_killed_half_way_nothing_is_half_there(built: Engine, where: str) -> None:
    """Clean-up dies when it has taken something away; the next opener finishes, and all can be built again."""
    text = f"""
import os, signal
from carboy.base import fs
import carboy.engine.builds.cache as cache, carboy.build.running.caches as caches, carboy.store.trees as trees
def die(*arguments):
    {"pass" if where == "before" else "real(*arguments)"}
    os.kill(os.getpid(), signal.SIGKILL)
real = fs.remove_tree
cache.remove_tree = caches.remove_tree = fs.remove_tree = die
from carboy.cli.main import main
main(["builder", "prune"])
"""
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", text], check=False, capture_output=True)
        assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    assert main(["builder", "prune"]) == 0
    assert os.listdir(built.home.trash) == []
    assert types(built) == {REGULAR: 2}
    assert main(["system", "check"]) == 0
    with CacheFolders(built.home, kind="multi").open(CacheMount(target="/c", id="pip")) as cache:
        assert os.listdir(cache.data) == []


def test_a_cache_that_was_never_finished_goes(tmp_path: Path) -> None:
    home = Home(str(tmp_path))
    os.makedirs(f"{home.cache}/mounts/multi/name/0~abc/data")
    os.makedirs(home.trash)
    (cache,) = list_caches(home)
    assert not cache.in_use
    assert remove_cache(home, cache)
    assert list_caches(home) == []
