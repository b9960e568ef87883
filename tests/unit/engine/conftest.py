"""What tests of use cases share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import open_home

if TYPE_CHECKING:
    from carboy.base.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Return a home with the records of two networks."""
    made = open_home(str(tmp_path / "home"))
    folder = Path(made.path) / "networks"
    folder.mkdir()
    for number, name in enumerate(("shop", "back")):
        record = {"name": name, "bridge": f"carboy-{number}", "subnet": f"10.90.{number}.0/24", "is_internal": False}
        record |= {"has_ipv6": False, "created_s": 1, "labels": [["number", str(number)]]}
        (folder / f"{name}.json").write_text(json.dumps(record))
    return made
