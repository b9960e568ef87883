"""Programs that are told something, and answer: both pipes end with them, whatever they do."""

from __future__ import annotations

import os
import sys

import pytest

from carboy.base.proc import DEFAULT_ENV, Piped, ask
from carboy.errors import CarboyError


def run(
    script: str, question: bytes = b"", *, max_bytes: int = 2**20, ends: tuple[int, int] = (0, 1)
) -> tuple[int, bytes]:
    return ask([sys.executable, "-I", "-c", script], question, env=DEFAULT_ENV, max_bytes=max_bytes, ends=ends)


@pytest.fixture(autouse=True)
def _nothing_stays_open() -> object:
    before = os.listdir("/proc/self/fd")
    yield
    assert os.listdir("/proc/self/fd") == before


def test_a_question_is_answered_on_standard_input_and_output() -> None:
    script = "import sys; sys.stdout.write(sys.stdin.read().upper()); sys.exit(3)"
    assert run(script, b"word") == (3, b"WORD")


def test_a_question_is_answered_on_other_descriptors_and_more_than_a_pipe_holds() -> None:
    script = "import os; text = open(3, 'rb').read(); open(4, 'wb').write(text[::-1])"
    question = bytes(range(256)) * 4096
    assert run(script, question, ends=(3, 4)) == (0, question[::-1])


def test_who_does_not_listen_is_known_by_its_status() -> None:
    assert run("import sys; sys.exit(7)", b"x" * 2**20) == (7, b"")


def test_of_an_answer_without_end_the_beginning_is_taken() -> None:
    script = "import sys\nwhile True: sys.stdout.buffer.write(b'y' * 4096)"
    status, answer = run(script, max_bytes=10_000)
    assert (answer, status != 0) == (b"y" * 10_000, True)


def test_what_cannot_be_started_is_said() -> None:
    with pytest.raises(CarboyError, match="cannot be started"):
        ask(["/nothing/here"], b"text", env={}, max_bytes=10)


def test_several_outputs_are_read_as_one() -> None:
    script = "import os; os.write(1, b'one '); os.write(2, b'two'); os._exit(5)"
    with Piped([sys.executable, "-I", "-c", script], env=DEFAULT_ENV, outputs=(1, 2)) as program:
        text = b""
        while data := os.read(program.fd, 100):
            text += data
    assert (text, program.status) == (b"one two", 5)
