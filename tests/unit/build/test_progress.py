"""What a build tells where there is no terminal."""

from __future__ import annotations

import io

import pytest

from carboy.build.progress import PlainProgress


@pytest.mark.parametrize(
    ("lines", "said"), [(False, "warning: a is yanked\n"), (True, "  one\n" + 2 * "  warning: a is yanked\n")]
)
def test_warnings_are_told_in_any_case(lines: bool, said: str) -> None:
    stream = io.StringIO()
    progress = PlainProgress(stream, lines=lines)
    for line in ("one", "warning: a is yanked", "warning: a is yanked"):
        progress.log(line)
    assert stream.getvalue() == said
