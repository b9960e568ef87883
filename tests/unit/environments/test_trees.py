"""What is taken from a sandbox in which packages' own code ran."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from carboy.environments.trees import list_parts, open_trees, read_left
from carboy.errors import CarboyError

LAYERS = "/opt/layers"


def test_trees_are_found_where_they_were(tmp_path: Path) -> None:
    (tmp_path / "opt/layers/0").mkdir(parents=True)
    with open_trees(str(tmp_path), LAYERS) as fd:
        assert os.listdir(fd) == ["0"]


@pytest.mark.parametrize("place", ["opt", "opt/layers"])
def test_links_in_their_place_are_refused(tmp_path: Path, place: str) -> None:
    elsewhere, upper = tmp_path / "elsewhere", tmp_path / "upper"
    (elsewhere / "layers").mkdir(parents=True)
    (upper / place).parent.mkdir(parents=True)
    (upper / place).symlink_to(elsewhere)
    with pytest.raises(CarboyError, match="moved its own files away"), open_trees(str(upper), LAYERS):
        pass


def test_names_that_somebody_else_made_do_not_count() -> None:
    names = ["1", "0.10", "0.2", "0", "0.x", "0.1.1", "00", "0.01", "0.-1", "0.1"]
    assert list_parts(names, "0") == ["0", "0.1", "0.2", "0.10"]


def test_a_tree_that_is_gone_is_told() -> None:
    with pytest.raises(CarboyError, match="moved its own files away") as caught:
        list_parts(["0", "1"], "venv")
    assert caught.value.details == "venv: it is not there"


def test_a_file_is_read_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "pylock.toml").write_text("name = 1\n")
    assert read_left(str(tmp_path), "pylock.toml", limit=2**20) == "name = 1\n"
    assert read_left(str(tmp_path), "pylock.toml", limit=4) == "name"


def test_what_leads_elsewhere_or_waits_for_ever_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of the host")
    (tmp_path / "link").symlink_to("secret")
    with pytest.raises(OSError, match="symbolic links"):
        read_left(str(tmp_path), "link", limit=2**20)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(CarboyError, match="moved its own files away"):
        read_left(str(tmp_path), "fifo", limit=2**20)
