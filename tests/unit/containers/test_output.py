"""Streams of a kept container: to its log and to whoever is attached, from whoever is attached, and never into memory."""

from __future__ import annotations

import contextlib
import os
import signal
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from carboy.containers.output import CHUNK_BYTES, Output, Reader, write_last
from carboy.runtime.loop import Loop

if TYPE_CHECKING:
    from collections.abc import Iterator


class MemoryLog:
    """Keeps what is written, as a log."""

    def __init__(self) -> None:
        self.data = {"stdout": b"", "stderr": b""}

    def write(self, stream: str, data: bytes) -> None:
        self.data[stream] += data

    def flush(self) -> None:
        """Nothing is held."""


class Stage:
    """An output, the container's ends of its pipes, and what readers see."""

    def __init__(self, *, interactive: bool = False) -> None:
        self.loop = Loop()
        self.log = MemoryLog()
        self.output = Output(self.loop, self.log)  # type: ignore[arg-type]
        self.child = self.output.open_pipes(interactive=interactive)
        self.open = set(self.child.values())

    def close_child(self, *numbers: int) -> None:
        for number in numbers:
            os.close(self.child[number])
            self.open.discard(self.child[number])

    def join(self, *, source: int = -1, ends_input: bool = False) -> tuple[Reader, int, int]:
        """Attach a reader; returns it and the ends at which it reads."""
        (out, out_write), (err, err_write) = os.pipe(), os.pipe()
        reader = Reader(source=source, stdout=out_write, stderr=err_write, ends_input=ends_input)
        self.output.attach(reader)
        self.open |= {out, err}
        return reader, out, err

    def settle(self) -> None:
        """Do all that can be done without waiting."""
        while self.loop.step(0):
            pass

    def fill(self) -> int:
        """Write to the container's output until it is full, and return how many bytes went."""
        fd = self.child[1]
        os.set_blocking(fd, False)
        count = 0
        while True:
            try:
                count += os.write(fd, b"x" * 4096)
            except BlockingIOError:
                before = count
                self.settle()
                try:
                    count += os.write(fd, b"x" * 4096)
                except BlockingIOError:
                    return before


@pytest.fixture
def stage() -> Iterator[Stage]:
    made = Stage()
    yield made
    made.output.close()
    for fd in made.open:
        os.close(fd)


def test_output_goes_to_the_log_and_to_every_reader(stage: Stage) -> None:
    first, out1, err1 = stage.join()
    _, out2, _ = stage.join()
    os.write(stage.child[1], b"one\n")
    os.write(stage.child[2], b"two\n")
    stage.settle()
    assert stage.log.data == {"stdout": b"one\n", "stderr": b"two\n"}
    assert (os.read(out1, 99), os.read(err1, 99), os.read(out2, 99)) == (b"one\n", b"two\n", b"one\n")
    stage.output.detach(first)
    stage.output.detach(first)
    os.write(stage.child[1], b"three\n")
    stage.settle()
    assert os.read(out1, 99) == b""
    assert os.read(out2, 99) == b"three\n"


def test_a_reader_that_does_not_read_holds_the_container_back_and_not_the_memory(stage: Stage) -> None:
    reader, out, _ = stage.join()
    stage.fill()
    assert sum(map(len, reader.held.values())) <= CHUNK_BYTES
    assert stage.loop.step(0) == 0, "nothing is done while nothing can go on: no busy loop"
    got = b""
    while data := os.read(out, CHUNK_BYTES):
        got += data
        stage.settle()
        if not reader.held:
            break
    assert len(stage.log.data["stdout"]) >= len(got)
    assert set(got) == {ord("x")}


def test_a_stalled_reader_that_goes_away_frees_the_container(stage: Stage) -> None:
    reader, _, _ = stage.join()
    stage.fill()
    before = len(stage.log.data["stdout"])
    stage.output.detach(reader)
    stage.settle()
    assert len(stage.log.data["stdout"]) > before


def test_a_reader_whose_pipe_broke_is_forgotten(stage: Stage) -> None:
    _, out, err = stage.join()
    os.close(out)
    stage.open.discard(out)
    os.write(stage.child[1], b"one\n")
    stage.settle()
    assert os.read(err, 5) == b""
    assert stage.log.data["stdout"] == b"one\n"


def test_the_end_never_waits_for_a_stalled_reader(stage: Stage) -> None:
    reader, out, _ = stage.join()
    written = stage.fill()
    stage.close_child(1, 2)
    stage.output.close()
    assert reader.held
    assert len(stage.log.data["stdout"]) >= written
    read, write = os.pipe()
    write_last(reader.held, talk=write, say=lambda: os.write(write, b"ended"))
    os.close(write)
    stage.output.detach(reader)
    got = 0
    while data := os.read(out, CHUNK_BYTES):
        got += len(data)
    assert got == len(stage.log.data["stdout"])
    assert os.read(read, 99) == b"ended"
    assert os.read(read, 99) == b""
    os.close(read)


def test_who_waits_for_a_last_reader_that_goes_away_ends(stage: Stage) -> None:
    reader, out, _ = stage.join()
    stage.fill()
    stage.close_child(1, 2)
    stage.output.close()
    read, write = os.pipe()
    write_last(reader.held, talk=write, say=lambda: None)
    os.close(write)
    stage.output.detach(reader)
    os.close(out)
    stage.open.discard(out)
    assert os.read(read, 1) == b""
    os.close(read)


def test_what_is_left_in_the_pipes_is_taken_at_the_end(stage: Stage) -> None:
    _, out, _ = stage.join()
    os.write(stage.child[1], b"last words")
    stage.output.close()
    assert stage.log.data["stdout"] == b"last words"
    assert os.read(out, 99) == b"last words"
    assert os.read(out, 99) == b""


@settings(max_examples=25, deadline=None)
@given(data=st.binary(min_size=1, max_size=300_000), step=st.integers(1000, 70_000))
def test_input_arrives_whole_though_the_container_reads_slowly(data: bytes, step: int) -> None:
    stage = Stage(interactive=True)
    source, feed = os.pipe()
    os.set_blocking(feed, False)
    stage.join(source=source, ends_input=True)
    rest, got = memoryview(data), b""
    os.set_blocking(stage.child[0], False)
    ended = False
    while not ended:
        try:
            while rest:
                rest = rest[os.write(feed, rest) :]
            if feed >= 0:
                os.close(feed)
                feed = -1
        except BlockingIOError:
            pass
        stage.settle()
        try:
            piece = os.read(stage.child[0], step)
            got += piece
            ended = not piece
        except BlockingIOError:
            continue
    assert got == data
    stage.output.close()
    for fd in stage.open:
        os.close(fd)


def test_input_that_nobody_in_the_container_reads_is_no_error() -> None:
    stage = Stage(interactive=True)
    source, feed = os.pipe()
    stage.join(source=source)
    stage.close_child(0)
    os.write(feed, b"hello\n")
    stage.settle()
    os.write(feed, b"again\n")
    stage.settle()
    with pytest.raises(BrokenPipeError):  # so that who feeds it knows
        os.write(feed, b"hello\n")
    assert stage.loop.step(0) == 0
    os.close(feed)
    stage.output.close()
    for fd in stage.open:
        os.close(fd)


def test_a_terminal_goes_both_ways_and_ends_with_its_last_user() -> None:
    stage = Stage.__new__(Stage)
    stage.loop, stage.log, stage.open = Loop(), MemoryLog(), set()
    stage.output = Output(stage.loop, stage.log)  # type: ignore[arg-type]
    master, slave = os.openpty()
    stage.output.open_terminal(master)
    stage.output.resize(33, 77)
    assert os.get_terminal_size(slave) == (77, 33)
    source, feed = os.pipe()
    _, out, _ = stage.join(source=source)
    os.write(feed, b"hello\n")
    stage.settle()
    assert os.read(slave, 99) == b"hello\n"
    os.write(slave, b"answer\n")
    stage.settle()
    assert b"answer\r\n" in os.read(out, 99)
    os.close(slave)
    stage.settle()
    assert stage.loop.step(0) == 0, "a terminal that is gone is not watched"
    stage.output.close()
    os.close(feed)
    for fd in stage.open:
        os.close(fd)


def test_a_full_terminal_and_a_stalled_reader_lose_nothing() -> None:
    loop, log = Loop(), MemoryLog()
    output = Output(loop, log)  # type: ignore[arg-type]
    master, slave = os.openpty()
    import tty

    tty.setraw(slave)
    output.open_terminal(master)
    source, feed = os.pipe()
    out, out_write = os.pipe()
    reader = Reader(source=source, stdout=out_write, stderr=-1, ends_input=False)
    output.attach(reader)
    os.set_blocking(feed, False)
    os.set_blocking(slave, False)

    def settle() -> None:
        for _ in range(10_000):
            if not loop.step(0):
                return

    sent = 0
    for _ in range(100):  # more input than the terminal takes
        try:
            sent += os.write(feed, b"i" * 4096)
        except BlockingIOError:
            break
        settle()
    written = 0
    for _ in range(200):  # and more output than the reader takes
        try:
            written += os.write(slave, b"o" * 1024)
        except BlockingIOError:
            settle()
    settle()
    got_in = got_out = 0
    for _ in range(5000):
        with contextlib.suppress(BlockingIOError):
            got_in += len(os.read(slave, 4096))
        os.set_blocking(out, False)
        with contextlib.suppress(BlockingIOError):
            got_out += len(os.read(out, 4096))
        settle()
        if (got_in, got_out) == (sent, written):
            break
    assert (got_in, got_out) == (sent, written)
    output.close()
    for fd in (slave, feed, out):
        os.close(fd)


def test_a_process_that_writes_last_words_holds_nothing_else(stage: Stage) -> None:
    reader, out, _ = stage.join()
    stage.fill()
    held, kept = os.pipe()  # stands for the container's lock
    read, write = os.pipe()
    write_last(reader.held, talk=write, say=lambda: None)
    os.close(kept)
    assert os.read(held, 1) == b"", "its end was closed in the other process, too"
    os.close(write)
    stage.output.detach(reader)
    os.close(out)
    stage.open.discard(out)
    os.read(read, 1)
    os.close(read)
    os.close(held)
    assert signal.getsignal(signal.SIGPIPE) == signal.SIG_IGN
