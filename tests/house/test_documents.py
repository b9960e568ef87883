"""Documents name what is there: files by their links, and tests that show what is said."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(path for path in (*CHECKOUT.glob("*.md"), *CHECKOUT.glob("docs/**/*.md")))


@pytest.mark.parametrize("path", DOCUMENTS, ids=[path.relative_to(CHECKOUT).as_posix() for path in DOCUMENTS])
def test_links_lead_somewhere(path: Path) -> None:
    targets = re.findall(r"\]\((?!\w+:)([^)#]+)", path.read_text())
    assert not [target for target in targets if not (path.parent / target).exists()]


def test_tests_that_are_named_are_there() -> None:
    known = {
        name
        for path in (CHECKOUT / "tests").rglob("*.py")
        for name in re.findall(r"^def (test_\w+)", path.read_text(), re.M)
    }
    files = {path.name for path in (CHECKOUT / "tests").rglob("*.py")}
    for path in DOCUMENTS:
        named = re.findall(r"`(test_\w+)`", path.read_text())
        assert not [name for name in named if name not in known], path
        assert not [name for name in re.findall(r"`[\w/]*?(test_\w+\.py)`", path.read_text()) if name not in files], (
            path
        )
