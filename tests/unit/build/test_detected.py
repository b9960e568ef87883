"""Whose folder it is that somebody asks about."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.build.detected import detect_folder

CHECKOUT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("folder", "kind"),
    [
        ("examples/iris", "python"),
        ("examples/iris-r", "r"),
        ("examples/mixed", "mixed"),
        ("examples/dockerfiles/cron", "dockerfile"),
        ("tests/projects/install-r", "r"),
        ("tests/projects/mixed", "mixed"),
        ("tests/projects/conda", "conda"),
        ("tests/projects/notebook", "python"),
    ],
)
def test_kinds(folder: str, kind: str) -> None:
    assert detect_folder(str(CHECKOUT / folder)).kind == kind
