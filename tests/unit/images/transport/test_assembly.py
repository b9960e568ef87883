"""Layers that are put together of local pieces and fetched parts: only what is missing comes, and nothing is believed."""

from __future__ import annotations

import gzip
import os
import random
from typing import TYPE_CHECKING

import pytest
import zstandard
from registries import Registry, Seen, serve

from carboy.images.transport.assembly import LayerSource, Place, Step, find_places, find_tables, plan_assembly
from carboy.images.transport.together import Stopped
from carboy.layers.pieces import ANNOTATION, Piece, make_table, prove
from carboy.oci import mediatypes
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.reference import Reference
from carboy.remote.repository import Registries
from carboy.store.store import Store

if TYPE_CHECKING:
    from pathlib import Path

    from registries import Answer, Server

    from carboy.remote.repository import Repository

HERE = Digest.of(b"here")
CHANCE = random.Random(5)
PARTS = [CHANCE.randbytes(200_000) for _ in range(12)]
NEW = CHANCE.randbytes(150_000)


@pytest.fixture
def seen(registry: tuple[Registry, Server]) -> list[Seen]:
    return registry[1].seen


class Layer:
    """A layer in pieces; the table can say other pieces than it has."""

    def __init__(self, parts: list[bytes], *, kind: str = "gzip", lies: list[Piece] | None = None) -> None:
        pack = zstandard.compress if kind == "zstd" else lambda part: gzip.compress(part, 1, mtime=0)
        packed = [pack(part) for part in parts]
        self.pieces = [Piece(prove(data), len(data)) for data in packed]
        table = make_table(self.pieces if lies is None else lies, kind=kind)
        self.data = b"".join(packed) + table
        self.descriptor = Descriptor(
            media_type=mediatypes.LAYER_ZSTD if kind == "zstd" else mediatypes.LAYER_GZIP,
            digest=Digest.of(self.data),
            size=len(self.data),
            annotations={ANNOTATION: str(len(table))},
        )

    def put(self, registry: Registry) -> Layer:
        registry.put_blob("a/b", self.data)
        return self


def change(parts: list[bytes], *places: int) -> list[bytes]:
    return [NEW + part[:1000] if number in places else part for number, part in enumerate(parts)]


def fetch(repository: Repository, store: Store, layer: Layer) -> int:
    """Fetch a layer, and return how much came; what progress hears is the whole, once."""
    told: list[int] = []
    with store.lease("test"):
        came = LayerSource(repository, store.blobs).fetch_layer(layer.descriptor, on_bytes=told.append)
    assert sum(told) == layer.descriptor.size
    assert store.blobs.read(layer.descriptor.digest, limit=2**24) == layer.data
    return came


def ranges(seen: list[Seen]) -> list[str]:
    return [one.headers.get("range", "all") for one in seen if "/blobs/" in one.path]


# --- plans ----------------------------------------------------------------------------------------------------------


def plan(*sizes: int) -> list[tuple[int, int, bool]]:
    """Return the plan for pieces of these sizes, of which the negative ones are to be fetched."""
    pieces = [Piece(bytes([number]) * 16, abs(size)) for number, size in enumerate(sizes)]
    places = {piece: Place(HERE, 7) for piece, size in zip(pieces, sizes, strict=True) if size > 0}
    return [(step.start, step.end, step.place is not None) for step in plan_assembly(pieces, places)]


def test_neighbours_are_fetched_together() -> None:
    assert plan() == []
    assert plan(-5, -6, -7) == [(0, 18, False)]
    assert plan(500_000, -5, -6, 500_000) == [
        (0, 500_000, True),
        (500_000, 500_011, False),
        (500_011, 1_000_011, True),
    ]


def test_little_between_two_parts_comes_along() -> None:
    assert plan(-5, 100_000, -6) == [(0, 100_011, False)]
    assert plan(-5, 100_000, 100_000, -6)[1:3] == [(5, 100_005, True), (100_005, 200_005, True)]
    # At the ends it would need no request.
    assert plan(1000, -5, 1000) == [(0, 1000, True), (1000, 1005, False), (1005, 2005, True)]


def test_a_plan_says_where_everything_is() -> None:
    piece = Piece(bytes(16), 10)
    assert plan_assembly([piece], {piece: Place(HERE, 3)}) == (
        Step(start=0, end=10, piece=piece, place=Place(HERE, 3)),
    )


# --- what comes -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_what_changed_is_fetched(
    ours: Registry, seen: list[Seen], repository: Repository, store: Store, kind: str
) -> None:
    old = Layer(PARTS, kind=kind)
    store.blobs.put(old.data)
    new = Layer([*change(PARTS, 4, 5), NEW], kind=kind).put(ours)
    came = fetch(repository, store, new)
    table = int(new.descriptor.annotations[ANNOTATION])
    missing = sum(piece.size for piece in new.pieces if piece not in old.pieces)
    assert came == missing + table < new.descriptor.size // 3
    assert ours.calls["GET blob"] == 3
    start = sum(piece.size for piece in new.pieces[:4])
    assert ranges(seen)[1] == f"bytes={start}-{start + sum(piece.size for piece in new.pieces[4:6]) - 1}"


def test_nothing_is_asked_where_there_is_nothing_to_take(
    ours: Registry, seen: list[Seen], repository: Repository, store: Store
) -> None:
    new = Layer(PARTS).put(ours)
    assert fetch(repository, store, new) == new.descriptor.size
    assert ranges(seen) == ["all"]


def test_what_is_new_comes_as_a_whole(ours: Registry, seen: list[Seen], repository: Repository, store: Store) -> None:
    store.blobs.put(Layer([NEW]).data)
    new = Layer(PARTS).put(ours)
    assert fetch(repository, store, new) == new.descriptor.size
    assert ranges(seen)[1:] == ["all"]


def test_a_part_is_taken_up_where_its_connection_ended(ours: Registry, repository: Repository, store: Store) -> None:
    store.blobs.put(Layer(PARTS).data)
    new = Layer(change(PARTS, 3)).put(ours)
    ours.change = cut_first_parts
    assert fetch(repository, store, new) < new.descriptor.size // 4


def cut_first_parts(kind: str, seen: Seen, answer: Answer) -> Answer:
    """Cut every answer of more than 50,000 bytes."""
    return (answer[0], {**answer[1], "x-cut": "50000"}, answer[2]) if len(answer[2]) > 50_000 else answer


def test_mirrors_are_asked_as_well(ours: Registry, repository: Repository, store: Store, tmp_path: Path) -> None:
    """A mirror without ranges is passed over for parts."""
    store.blobs.put(Layer(PARTS).data)
    new = Layer(change(PARTS, 3)).put(ours)
    mirror = Registry(ranges=False, blobs=dict(ours.blobs))
    with serve(mirror.answer) as server:
        home = tmp_path / "mirrored"
        home.mkdir()
        (home / "config.toml").write_text(f'[registries."{repository.registry}"]\nmirrors = ["http://{server.host}"]\n')
        with Registries(str(home), {"HOME": str(home), "XDG_RUNTIME_DIR": str(home)}) as registries:
            mirrored = registries.open(Reference.parse(f"{repository.registry}/a/b:1"))
            assert fetch(mirrored, store, new) < new.descriptor.size // 4
    assert mirror.calls["GET blob"] == ours.calls["GET blob"] == 2


# --- nothing is believed --------------------------------------------------------------------------------------------


def whole(kind: str, seen: Seen, answer: Answer) -> Answer:
    """Answer a request for a part as if it were all that there is."""
    return (206, {**answer[1], "Content-Range": "bytes 0-5/6"}, answer[2])


def longer(kind: str, seen: Seen, answer: Answer) -> Answer:
    return (answer[0], answer[1], answer[2] + b"more") if "range" in seen.headers else answer


def other(kind: str, seen: Seen, answer: Answer) -> Answer:
    return (answer[0], answer[1], bytes(len(answer[2]))) if "range" in seen.headers else answer


def failing(kind: str, seen: Seen, answer: Answer) -> Answer:
    return (416, {}, b"") if "range" in seen.headers else answer


def busy(kind: str, seen: Seen, answer: Answer) -> Answer:
    return (503, {}, b"") if "range" in seen.headers else answer


@pytest.mark.parametrize(
    "way", [None, whole, longer, other, failing, busy], ids=lambda way: getattr(way, "__name__", "200")
)
def test_registries_that_send_something_else(ours: Registry, repository: Repository, store: Store, way: object) -> None:
    store.blobs.put(Layer(PARTS).data)
    new = Layer(change(PARTS, 3)).put(ours)
    ours.ranges = way is not None
    ours.change = lambda kind, seen, answer: (
        way(kind, seen, answer) if callable(way) and kind == "GET blob" and "range" in seen.headers else answer
    )
    assert fetch(repository, store, new) == new.descriptor.size


def test_a_part_that_is_not_that_of_the_blob(ours: Registry, repository: Repository, store: Store) -> None:
    """The table is right, and then other bytes come: the digest tells."""
    store.blobs.put(Layer(PARTS).data)
    new = Layer(change(PARTS, 3)).put(ours)
    start = new.descriptor.size - int(new.descriptor.annotations[ANNOTATION])
    ours.change = lambda kind, seen, answer: (
        answer if f"={start}-" in seen.headers.get("range", "") else other(kind, seen, answer)
    )
    assert fetch(repository, store, new) == new.descriptor.size


@pytest.mark.parametrize("text", ["0", "-1", "12", "9999999", "99999999999999999999", "x", "1\n"])
def test_annotations_that_lie(ours: Registry, repository: Repository, store: Store, text: str) -> None:
    store.blobs.put(Layer(PARTS).data)
    new = Layer(change(PARTS, 3)).put(ours)
    new.descriptor = Descriptor(
        media_type=new.descriptor.media_type,
        digest=new.descriptor.digest,
        size=new.descriptor.size,
        annotations={ANNOTATION: text},
    )
    assert fetch(repository, store, new) == new.descriptor.size


@pytest.mark.slow
def test_tables_that_lie(ours: Registry, repository: Repository, store: Store) -> None:
    """Pieces in another order, pieces of other sizes, one piece very often: the blob comes, as a whole."""
    old = Layer(PARTS)
    store.blobs.put(old.data)
    first = old.pieces[0]
    for lies in (
        old.pieces[::-1],
        [first] * 12,
        [Piece(piece.proof, piece.size + step) for piece, step in zip(old.pieces, (1, -1) * 6, strict=True)],
        [Piece(first.proof, 1)] * 50_000,
        [Piece(first.proof, 2**32 - 1)],
        [],
    ):
        new = Layer(change(PARTS, 3), lies=lies).put(ours)
        assert fetch(repository, store, new) == new.descriptor.size


def test_local_tables_that_lie(ours: Registry, seen: list[Seen], repository: Repository, store: Store) -> None:
    """A blob that says of its bytes that they are what another has: they are not, and come from the registry."""
    new = Layer(change(PARTS, 3)).put(ours)
    store.blobs.put(Layer([bytes(reversed(part)) for part in PARTS], lies=Layer(PARTS).pieces).data)
    assert fetch(repository, store, new) == new.descriptor.size
    assert "all" not in ranges(seen)


def test_a_damaged_local_blob_costs_the_piece(ours: Registry, repository: Repository, store: Store) -> None:
    old = Layer(PARTS)
    path = store.blobs.path(store.blobs.put(old.data))
    with open(path, "r+b") as stream:
        stream.seek(old.pieces[0].size + 1000)
        stream.write(b"damaged")
    new = Layer(change(PARTS, 7)).put(ours)
    came = fetch(repository, store, new)
    table = int(new.descriptor.annotations[ANNOTATION])
    assert came == new.pieces[1].size + new.pieces[7].size + table


def test_blobs_that_go_away(store: Store) -> None:
    """Between the look and the copy clean-up may take what nobody holds."""
    old = Layer(PARTS)
    digest = store.blobs.put(old.data)
    store.blobs.put(b"small")
    store.blobs.put(bytes(10_000))
    tables = find_tables(store.blobs)
    assert [table.blob for table in tables] == [digest]
    assert find_places(store.blobs, tables, {old.pieces[1]}) == {old.pieces[1]: Place(digest, old.pieces[0].size)}
    os.truncate(store.blobs.path(digest), 10)
    assert find_places(store.blobs, tables, {old.pieces[1]}) == {}
    os.unlink(store.blobs.path(digest))
    assert find_places(store.blobs, tables, {old.pieces[1]}) == {}


def test_who_stops_is_not_asked_to_go_on(ours: Registry, repository: Repository, store: Store) -> None:
    store.blobs.put(Layer(PARTS).data)
    new = Layer(change(PARTS, 3)).put(ours)

    def stop(_: int) -> None:
        raise Stopped

    with store.lease("test"), pytest.raises(Stopped):
        LayerSource(repository, store.blobs).fetch_layer(new.descriptor, on_bytes=stop)
    assert ours.calls["GET blob"] == 1
    assert not store.blobs.has(new.descriptor.digest)
