"""What a task's values look like on their way: all of them come back, and nothing that comes can do harm."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import math
import struct
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.client.tasks.wire import WireError, read_frame, write_frame

plain = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(), st.floats(allow_nan=False), st.binary(max_size=50),
    st.complex_numbers(allow_nan=False), st.datetimes(), st.dates(), st.decimals(allow_nan=False), st.uuids(),
    st.timedeltas(min_value=datetime.timedelta(-1000), max_value=datetime.timedelta(1000)).map(
        lambda delta: datetime.timedelta(seconds=int(delta.total_seconds()))
    ),
)  # fmt: skip
keys = st.one_of(st.text(), st.integers(), st.tuples(st.integers(), st.text()), st.just("$"))
values = st.recursive(
    plain,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.tuples(inner, inner), st.dictionaries(keys, inner, max_size=4),
        st.frozensets(st.integers(), max_size=4), st.sets(st.text(), max_size=4),
    ),
    max_leaves=20,
)  # fmt: skip


def send(value: object, folder: Path = Path("/nonexistent")) -> object:
    file = io.BytesIO()
    write_frame(file, "call", value)
    file.seek(0)
    frame = read_frame(file, str(folder))
    assert frame is not None
    assert frame[0] == "call"
    assert read_frame(file, str(folder)) is None
    return frame[1]


@given(value=values)
def test_a_value_comes_back(value: object) -> None:
    again = send(value)
    assert again == value
    assert type(again) is type(value)


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_infinities(value: float) -> None:
    assert send(value) == value


def test_not_a_number() -> None:
    assert math.isnan(send(math.nan))  # type: ignore[arg-type]


def test_a_file_travels_by_content_and_last_name(tmp_path: Path) -> None:
    source = tmp_path / "in" / "model.bin"
    source.parent.mkdir()
    source.write_bytes(b"\0\1\2" * 1000)
    target = tmp_path / "out"
    target.mkdir()
    first, second = send([source, source], target)  # type: ignore[misc]
    assert first == target / "model.bin"
    assert second.parent == target
    assert first.read_bytes() == second.read_bytes() == source.read_bytes()
    assert first != second


def frame(header: object, *blobs: bytes) -> io.BytesIO:
    data = json.dumps(header).encode()
    return io.BytesIO(struct.pack(">I", len(data)) + data + b"".join(blobs))


@pytest.mark.parametrize("name", ["../../evil", "/etc/passwd", "..", ".", "", "a/../../b", "x\0y"])
def test_a_name_from_there_says_nothing_of_where_to(tmp_path: Path, name: str) -> None:
    target = tmp_path / "out"
    target.mkdir()
    value = {"kind": "result", "value": {"$": ["path", [name, 0]]}, "blobs": [3]}
    answer = read_frame(frame(value, b"abc"), str(target))
    assert answer is not None
    assert answer[1].parent == target
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [answer[1]]


def test_a_file_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    value = {"kind": "result", "value": {"$": ["path", ["link", 0]]}, "blobs": [1]}
    answer = read_frame(frame(value, b"x"), str(tmp_path))
    assert answer is not None
    assert answer[1] == tmp_path / "1-link"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "header",
    [
        {"kind": "x", "value": {"$": ["nothing", 1]}, "blobs": []},
        {"kind": "x", "value": {"$": ["bytes", 7]}, "blobs": []},
        {"kind": "x", "value": {"$": 5}, "blobs": []},
        {"kind": "x", "value": {"$": ["decimal", "x"]}, "blobs": []},
        {"kind": "x", "value": {"$": ["date", 5]}, "blobs": []},
        {"kind": "x", "value": 1, "blobs": [-1]},
        {"kind": "x", "value": 1, "blobs": [2**60]},
        {"kind": "x", "value": 1, "blobs": ["1"]},
        {"value": 1, "blobs": []},
        [1, 2],
    ],
)
def test_what_is_no_frame_is_refused(header: object, tmp_path: Path) -> None:
    with pytest.raises(WireError):
        read_frame(frame(header), str(tmp_path))


@given(data=st.binary(min_size=1, max_size=200))
def test_garbage_is_refused_or_a_frame(data: bytes) -> None:
    try:
        read_frame(io.BytesIO(data), "/nonexistent")
    except WireError:
        return


@pytest.mark.parametrize("value", [object(), {1: object()}, lambda: 1, io.BytesIO()])
def test_what_cannot_travel_is_named_and_nothing_is_written(value: object) -> None:
    file = io.BytesIO()
    with pytest.raises(WireError, match="cannot travel"):
        write_frame(file, "call", value)
    assert file.getvalue() == b""


def test_a_list_that_holds_itself() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(WireError, match="nested"):
        send(value)


def test_precise_types() -> None:
    value = [decimal.Decimal("1.10"), uuid.UUID(int=5), datetime.time(1, 2), True, 1]
    assert [type(item) for item in send(value)] == [type(item) for item in value]  # type: ignore[attr-defined]
