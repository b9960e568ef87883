"""What is taken from a sandbox in which a package's own Python ran."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.environments.conda.install import list_parts, open_trees
from carboy.errors import CarboyError


def test_trees_are_found_where_they_were(tmp_path: Path) -> None:
    (tmp_path / "opt/layers/0").mkdir(parents=True)
    with open_trees(str(tmp_path)) as fd:
        assert os.listdir(fd) == ["0"]


@pytest.mark.parametrize("place", ["opt", "opt/layers"])
def test_links_in_their_place_are_refused(tmp_path: Path, place: str) -> None:
    elsewhere, upper = tmp_path / "elsewhere", tmp_path / "upper"
    (elsewhere / "layers").mkdir(parents=True)
    (upper / place).parent.mkdir(parents=True)
    (upper / place).symlink_to(elsewhere)
    with pytest.raises(CarboyError, match="moved its own files away"), open_trees(str(upper)):
        pass


def test_names_that_somebody_else_made_do_not_count() -> None:
    names = ["1", "0.10", "0.2", "0", "0.x", "0.1.1", "00", "0.01", "0.-1", "0.1"]
    assert list_parts(names, 0) == ["0", "0.1", "0.2", "0.10"]
