"""The store as its callers use it, on a real folder, and as a killed process leaves it."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import open_home
from carboy.errors import CarboyError
from carboy.layers.apply import commit_tree, verify_tree
from carboy.layers.batch import LayerBatch
from carboy.oci import mediatypes
from carboy.oci.config import RunConfig, make_config
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.index import parse_index
from carboy.oci.manifest import make_manifest
from carboy.oci.platform import Platform
from carboy.store.check import check
from carboy.store.errors import CorruptBlobError, MissingBlobError
from carboy.store.gc import collect
from carboy.store.store import Store
from carboy.store.usage import measure

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(open_home(str(tmp_path / "home")))


def add_image(store: Store, text: str) -> tuple[Descriptor, Digest]:
    with store.layers.ingest_dir() as ingest:
        (Path(ingest) / "tree" / "file").write_text(text)
        layer = commit_tree(store, ingest, mtime_cap=1_000_000_000)
    config = make_config(
        platform=Platform.current(), diff_ids=(layer.diff_id,), config=RunConfig(), created="", history=()
    )
    manifest = make_manifest(
        config=Descriptor(media_type=mediatypes.CONFIG, digest=store.blobs.put(config.raw), size=len(config.raw)),
        layers=(Descriptor(media_type=mediatypes.LAYER_TAR, digest=layer.diff_id, size=layer.size_bytes),),
    )
    digest = store.blobs.put(manifest.raw)
    return Descriptor(media_type=mediatypes.MANIFEST, digest=digest, size=len(manifest.raw)), layer.diff_id


def find_problems(store: Store, *, repair: bool = False) -> list[str]:
    problems = check(store, repair=repair, verify_layer=lambda diff_id: verify_tree(store, diff_id))
    return [f"{problem.kind} {problem.name}" for problem in problems]


def test_a_layer_that_removes_files_is_no_damaged_one(store: Store) -> None:
    """Whiteouts are no files with a time: they have the latest that the layer may have, at every look."""
    with store.layers.ingest_dir() as ingest:
        folder = Path(ingest) / "tree" / "folder"
        folder.mkdir()
        os.setxattr(folder, "user.overlay.opaque", b"y")
        if os.getuid() == 0:
            os.mknod(folder / "gone", 0o600 | stat.S_IFCHR, os.makedev(0, 0))
        layer = commit_tree(store, ingest, mtime_cap=1_000_000_000)
    assert find_problems(store) == []
    (Path(store.layers.path(layer.diff_id)) / "folder" / "planted").touch()
    assert find_problems(store)


def test_layers_of_a_batch_are_there_together_or_not_at_all(store: Store) -> None:
    def write(batch: LayerBatch, text: str) -> Digest:
        ingest = batch.ingest_dir()
        (Path(ingest) / "tree" / "file").write_text(text)
        return batch.write(ingest, mtime_cap=1_000_000_000).diff_id

    with LayerBatch(store) as batch:
        write(batch, "a")
        write(batch, "b")
    assert (store.blobs.digests(), store.layers.diff_ids()) == ([], [])
    with LayerBatch(store) as batch:
        batch.publish()
        one, same, other = write(batch, "a"), write(batch, "a"), write(batch, "b")
        assert store.layers.diff_ids() == []
        batch.publish()
    assert one == same
    assert store.layers.diff_ids() == [digest.hex for digest in store.blobs.digests()] == sorted([one.hex, other.hex])
    assert find_problems(store) == []
    assert os.listdir(Path(store.layers.folder).parent.parent / "ingest") == []


def test_a_blob_is_there_whole_or_not_at_all(store: Store) -> None:
    with store.blobs.writer() as writer:
        writer.write(b"half")
    assert store.blobs.digests() == []
    digest = store.blobs.put(b"whole")
    assert store.blobs.put(b"whole") == digest
    assert store.blobs.read(digest) == b"whole"
    with pytest.raises(MissingBlobError):
        store.blobs.read(Digest.of(b"other"))


def test_content_that_was_announced_otherwise_is_not_kept(store: Store) -> None:
    with store.blobs.writer() as writer:
        writer.write(b"x")
        with pytest.raises(CorruptBlobError):
            writer.commit(expected=Digest.of(b"y"))
    assert store.blobs.digests() == []


def test_a_changed_byte_is_found_and_repair_removes_what_stands_on_it(store: Store) -> None:
    descriptor, diff_id = add_image(store, "a")
    store.refs.set("docker.io/library/a:1", descriptor)
    assert find_problems(store) == []
    path = Path(store.blobs.path(diff_id))
    data = bytearray(path.read_bytes())
    data[700] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptBlobError):
        store.blobs.read(diff_id, limit=10**6)
    assert find_problems(store) == [f"blob {diff_id.hex[:19]}"]
    assert find_problems(store, repair=True) == [f"blob {diff_id.hex[:19]}", "image docker.io/library/a:1"]
    assert find_problems(store) == []
    assert store.refs.list() == []


def test_a_changed_file_of_an_unpacked_layer_is_found(store: Store) -> None:
    _, diff_id = add_image(store, "a")
    (Path(store.layers.path(diff_id)) / "file").write_text("b")
    assert find_problems(store) == [f"layer {diff_id.hex[:19]}"]


def test_index_json_follows_the_names(store: Store) -> None:
    descriptor, _ = add_image(store, "a")
    store.refs.set("docker.io/library/a:1", descriptor)
    (entry,) = parse_index(Path(store.home.store, "index.json").read_bytes()).manifests
    assert entry.annotations == {"org.opencontainers.image.ref.name": "a:1"}
    assert entry.digest == descriptor.digest
    assert store.refs.remove("docker.io/library/a:1")
    assert parse_index(Path(store.home.store, "index.json").read_bytes()).manifests == ()


def test_clean_up_keeps_names_cache_and_what_runs(store: Store) -> None:
    named, _ = add_image(store, "named")
    store.refs.set("docker.io/library/a:1", named)
    cached, _ = add_image(store, "cached")
    store.cache.put("key", "image", {}, [cached.digest])
    _, running = add_image(store, "running")
    add_image(store, "nobody's")
    report = collect(store, keep_cache=True, in_use=[str(running)])
    assert (report.blobs, report.layers) == (5, 1)  # all of nobody's; of what runs, the manifest and configuration
    assert store.layers.has(running)
    assert find_problems(store) == []
    collect(store, keep_cache=False)
    assert len(store.blobs.digests()) == 3
    assert [usage.reclaimable_bytes for usage in measure(store)][:2] == [0, 0]


def test_clean_up_leaves_alone_what_a_live_lease_may_stand_on(store: Store) -> None:
    with store.lease("test"):
        descriptor, _ = add_image(store, "new")
        assert collect(store, keep_cache=True).blobs == 0
        assert store.blobs.has(descriptor.digest)
    assert collect(store, keep_cache=True).blobs == 3


def test_a_dead_process_holds_no_lease(store: Store) -> None:
    pid = os.fork()
    if pid == 0:
        with store.lease("dies"):
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert store.claims.oldest_lease_s() is None


def _die_while_writing_a_blob(store: Store) -> None:
    with store.blobs.writer() as writer:
        writer.write(bytes(10**6))
        os.kill(os.getpid(), signal.SIGKILL)


def _die_while_filling_a_layer(store: Store) -> None:
    with store.layers.ingest_dir() as ingest:
        (Path(ingest) / "tree" / "file").write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)


def _die_while_discarding_a_layer(store: Store) -> None:
    with store.layers.ingest_dir() as ingest:
        os.rename(ingest, f"{store.home.trash}/x")
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    "die",
    [_die_while_writing_a_blob, _die_while_filling_a_layer, _die_while_discarding_a_layer],
    ids=lambda f: f.__name__,
)
def test_the_next_opener_finds_nothing_left(die: Callable[[Store], None], store: Store) -> None:
    add_image(store, "kept")
    pid = os.fork()
    if pid == 0:
        die(store)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    again = Store.open(store.home)
    assert os.listdir(again.home.ingest) == []
    assert os.listdir(again.home.trash) == []
    assert len(again.blobs.digests()) == 3
    assert find_problems(again) == []


def test_a_home_is_closed_to_others(tmp_path: Path) -> None:
    home = open_home(str(tmp_path / "home"))
    assert os.stat(home.path).st_mode & 0o777 == 0o700
    os.chmod(home.path, 0o755)
    open_home(home.path)
    assert os.stat(home.path).st_mode & 0o777 == 0o700


def test_a_newer_database_is_refused_and_left_alone(store: Store) -> None:
    assert store.refs.list() == []
    with sqlite3.connect(store.home.state_db) as newer:
        newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(CarboyError, match="cannot be read"):
        Store.open(store.home).refs.list()


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/usr/bin/skopeo"), reason="skopeo is not installed")
def test_other_tools_read_the_layout(store: Store) -> None:
    descriptor, _ = add_image(store, "a")
    store.refs.set("docker.io/library/a:1", descriptor)
    shown = subprocess.run(
        ["skopeo", "inspect", "--raw", f"oci:{store.home.store}:a:1"], capture_output=True, check=True
    ).stdout
    assert Digest.of(shown) == descriptor.digest
