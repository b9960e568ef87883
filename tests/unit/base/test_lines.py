"""Lines of what comes in pieces."""

from __future__ import annotations

from carboy.base.lines import KEPT, Lines


def test_lines_are_passed_on_when_they_are_whole() -> None:
    seen: list[str] = []
    lines = Lines(seen.append)
    lines.take(b"one \ntw")
    assert seen == ["one"]
    lines.take("o\n\nthrée".encode()[:-2])
    assert seen == ["one", "two", ""]
    lines.take("thrée".encode()[-2:])
    lines.finish()
    lines.finish()
    assert seen == list(lines.last) == ["one", "two", "", "thrée"]


def test_the_last_are_kept_as_they_are_shown() -> None:
    lines = Lines(lambda _: None, show=lambda text: text.replace("secret", "***"))
    lines.take(b"".join(b"secret %d\n" % number for number in range(KEPT + 5)))
    assert list(lines.last) == [f"*** {number}" for number in range(5, KEPT + 5)]
