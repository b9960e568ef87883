"""What a build prints that was told again, on a terminal and elsewhere."""

from __future__ import annotations

import io
import os
import pty
import sys

import pytest

from carboy.cli.report import print_cached, print_result, print_warnings
from carboy.cli.steps import open_steps

TITLES = ("[1/2] FROM base", "[2/2] RUN printf '\x1b[31m' " + "x" * 200)


def test_plain_lines_are_those_of_a_build(monkeypatch: pytest.MonkeyPatch) -> None:
    own, other = io.StringIO(), io.StringIO()
    monkeypatch.setattr(sys, "stderr", own)
    print_cached(TITLES, mode="auto")
    with open_steps(other, mode="auto") as progress:
        for number, title in enumerate(TITLES, 1):
            progress.step_started(number, title)
            progress.step_finished(number, cached=True, seconds=0)
    assert own.getvalue() == other.getvalue()


@pytest.mark.parametrize("colour", [True, False])
def test_on_a_terminal_lines_fit_and_titles_cannot_drive_it(monkeypatch: pytest.MonkeyPatch, *, colour: bool) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "" if colour else "1")
    reader, writer = pty.openpty()
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        print_cached(TITLES, mode="auto")
        stream.flush()
        said = b""
        while said.count(b"\n") < len(TITLES):
            said += os.read(reader, 4096)
        lines = said.decode().splitlines()
    os.close(reader)
    monkeypatch.undo()
    assert ("\x1b[32mok" in lines[0]) == colour
    assert "FROM base" in lines[0]
    assert "\x1b[31m" not in lines[1]
    plain = lines[1]
    for code in ("\x1b[32m", "\x1b[0m", "\x1b[2m"):
        plain = plain.replace(code, "")
    assert plain.startswith("ok [2/2] RUN printf")
    assert plain.endswith("\u2026  cached")
    assert len(plain) == 80


def test_warnings_and_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    print_warnings([])
    print_warnings(["a: b", "c\x07"])
    print_result("sha256:1", tags=["a:1", "b:1"], size_bytes=5, quiet=False)
    print_result("sha256:2", tags=["a:1"], size_bytes=5, quiet=True)
    said = capsys.readouterr()
    assert said.out == "sha256:1\nsha256:2\n"
    warnings = "2 warnings (carboy build --check shows where):\n - a: b\n - c\\x07\n"
    assert said.err == f"{warnings}built a:1, b:1, 5 B\n"
