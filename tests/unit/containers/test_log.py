"""The log of a container: nothing is lost, nothing comes twice, and it does not grow without end."""

from __future__ import annotations

import os
import subprocess
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.containers.log import MAX_LINE_BYTES, LogReader, LogWriter, parse_line

if TYPE_CHECKING:
    from collections.abc import Iterator

BIG = 10**9
CHUNKS = st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(max_size=60)), max_size=20)


def read_all(folder: Path) -> list[tuple[str, bytes, bool]]:
    reader = LogReader(str(folder))
    try:
        return [(line.stream, line.text, line.full) for line in reader.read()]
    finally:
        reader.close()


def joined(lines: list[tuple[str, bytes, bool]], stream: str) -> bytes:
    return b"".join(text + (b"\n" if full else b"") for name, text, full in lines if name == stream)


@given(chunks=CHUNKS)
def test_what_was_written_is_read_byte_for_byte(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[tuple[str, bytes]]
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = LogWriter(str(folder), max_bytes=BIG, files=3)
    for stream, data in chunks:
        writer.write(stream, data)
    writer.close()
    lines = read_all(folder)
    for stream in ("stdout", "stderr"):
        assert joined(lines, stream) == b"".join(data for name, data in chunks if name == stream)


@settings(max_examples=30)
@given(chunks=st.lists(st.integers(1, 40), min_size=1, max_size=60), max_bytes=st.integers(100, 700), read=st.data())
def test_a_reader_that_follows_misses_nothing_when_files_are_put_aside(
    tmp_path_factory: pytest.TempPathFactory, chunks: list[int], max_bytes: int, read: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("log")
    writer = LogWriter(str(folder), max_bytes=max_bytes, files=200)
    reader = LogReader(str(folder))
    seen: list[bytes] = []
    for number, size in enumerate(chunks):
        writer.write("stdout", b"%d:%s\n" % (number, b"x" * size))
        if read.draw(st.booleans()):
            seen += [line.text for line in reader.read()]
    writer.close()
    seen += [line.text for line in reader.read()]
    reader.close()
    assert seen == [b"%d:%s" % (number, b"x" * size) for number, size in enumerate(chunks)]
    assert read_all(folder) == [("stdout", text, True) for text in seen]


def test_a_reader_that_falls_behind_goes_on_with_the_oldest_that_is_left(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_bytes=300, files=2)
    reader = LogReader(str(tmp_path))
    writer.write("stdout", b"first\n")
    assert [line.text for line in reader.read()] == [b"first"]
    for number in range(100):
        writer.write("stdout", b"%d\n" % number)
    seen = [int(line.text) for line in reader.read()]
    reader.close()
    writer.close()
    assert seen == sorted(set(seen))
    assert seen[-1] == 99


@pytest.mark.parametrize("files", [1, 2, 3])
def test_the_log_is_bounded(tmp_path: Path, files: int) -> None:
    writer = LogWriter(str(tmp_path), max_bytes=20_000, files=files)
    for _ in range(200):
        writer.write("stdout", b"y\n" * 200)
    writer.close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["log", "log.1", "log.2"][:files]
    assert all(path.stat().st_size <= 20_000 for path in tmp_path.iterdir())


def test_many_short_lines_are_not_held_in_memory_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []
    write = os.write

    def note(fd: int, data: bytes) -> int:
        sizes.append(len(data))
        return write(fd, data)

    monkeypatch.setattr(os, "write", note)
    writer = LogWriter(str(tmp_path), max_bytes=BIG, files=1)
    writer.write("stdout", b"\n" * 65_536)
    writer.close()
    assert max(sizes) < 200_000
    assert len(read_all(tmp_path)) == 65_536


@given(size=st.integers(0, 4 * MAX_LINE_BYTES), parts=st.integers(1, 5))
@settings(max_examples=20)
def test_long_lines_are_split_and_put_together_again(
    tmp_path_factory: pytest.TempPathFactory, size: int, parts: int
) -> None:
    folder = tmp_path_factory.mktemp("log")
    data = os.urandom(size).replace(b"\n", b"x") + b"\n"
    writer = LogWriter(str(folder), max_bytes=BIG, files=1)
    step = -(-len(data) // parts)
    for start in range(0, len(data), step):
        writer.write("stdout", data[start : start + step])
    writer.close()
    lines = read_all(folder)
    assert joined(lines, "stdout") == data
    assert all(len(text) <= MAX_LINE_BYTES for _, text, _ in lines)
    assert [full for _, _, full in lines].count(True) == 1


def test_half_a_line_of_a_power_cut_is_left_out_and_spoils_nothing(tmp_path: Path) -> None:
    (tmp_path / "log").write_bytes(b"2026-11-25T12:00:00.000000000Z stdout F whole\n2026-11-25T12:0")
    writer = LogWriter(str(tmp_path), max_bytes=BIG, files=1)
    writer.write("stdout", b"next\n")
    writer.close()
    assert read_all(tmp_path) == [("stdout", b"whole", True), ("stdout", b"next", True)]


@given(st.binary(max_size=80))
def test_any_bytes_are_a_line_or_none(data: bytes) -> None:
    parsed = parse_line(data)
    assert parsed is None or data.endswith(b"\n")


def test_output_without_a_line_end_is_in_the_log_when_the_container_ends(tmp_path: Path) -> None:
    writer = LogWriter(str(tmp_path), max_bytes=BIG, files=1)
    writer.write("stdout", b"no end")
    assert read_all(tmp_path) == []
    writer.flush()
    assert read_all(tmp_path) == [("stdout", b"no end", False)]
    writer.close()


def test_a_log_that_cannot_be_put_aside_goes_on_in_the_same_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = LogWriter(str(tmp_path), max_bytes=100, files=2)
    writer.write("stdout", b"a" * 80 + b"\n")
    opened = os.open
    monkeypatch.setattr(os, "open", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    writer.write("stdout", b"b" * 80 + b"\n")
    monkeypatch.setattr(os, "open", opened)
    writer.write("stdout", b"c" * 80 + b"\n")
    writer.close()
    texts = [text[:1] if text[:1] in b"ac" else text for _, text, _ in read_all(tmp_path)]
    assert texts[0] == b"a"
    assert texts[-1] == b"c"
    assert any(b"bytes are missing here" in text for _, text, _ in read_all(tmp_path))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.getuid() != 0:
        pytest.skip("mounting a small file system needs root")
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "carboy-test", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.mark.root
def test_a_full_disk_costs_the_lines_of_that_time_and_says_so(small_disk: Path) -> None:
    writer = LogWriter(str(small_disk), max_bytes=BIG, files=2)
    writer.write("stdout", b"before\n")
    filler = small_disk / "filler"
    with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        deque(iter(lambda: file.write(bytes(4096)), None), maxlen=0)
    lines = [b"%d" % number + b"x" * 500 for number in range(100)]
    for line in lines:
        writer.write("stdout", line + b"\n")
    filler.unlink()
    writer.write("stdout", b"after\n")
    writer.close()
    found = read_all(small_disk)
    assert found[0] == ("stdout", b"before", True)
    assert found[-1] == ("stdout", b"after", True)
    assert found[-2][0] == "stderr", found[-2]
    assert b"the disk was full" in found[-2][1]
    kept = [text for _, text, _ in found[1:-2]]
    assert kept == lines[: len(kept)], "whole lines only, in their order"
    assert len(kept) < len(lines)


def test_a_reader_steps_back_when_the_writer_takes_half_a_batch_back(tmp_path: Path) -> None:
    path = tmp_path / "log"
    whole = b"2026-11-25T12:00:00.000000000Z stdout F one\n"
    path.write_bytes(whole + b"2026-11-25T12:00:01.000000000Z stdout F ha")
    reader = LogReader(str(tmp_path))
    assert [line.text for line in reader.read()] == [b"one"]
    path.write_bytes(whole)
    assert list(reader.read()) == []
    with path.open("ab") as file:
        file.write(b"2026-11-25T12:00:02.000000000Z stdout F two\n")
    assert [line.text for line in reader.read()] == [b"two"]
    reader.close()
