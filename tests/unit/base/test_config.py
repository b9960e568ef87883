"""Defaults of the home's owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.base.config import MAX_BYTES, read_default
from carboy.errors import CarboyError


def read(home: Path, **environ: str) -> str:
    return read_default("runtime", home=str(home), environ=environ)


def test_nothing_is_set(tmp_path: Path) -> None:
    assert read(tmp_path) == ""
    (tmp_path / "config.toml").write_text("# nothing\n")
    assert read(tmp_path, CARBOY_RUNTIME="") == ""


def test_the_variable_counts_more_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text('runtime = "runc"\n')
    assert read(tmp_path) == "runc"
    assert read(tmp_path, CARBOY_RUNTIME="runsc") == "runsc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runtime = runc", "not valid TOML"),
        ("runtime = 1", "runtime must be a text"),
        ("runtimes = 'runc'", "there is no setting 'runtimes'"),
        ("#" * (MAX_BYTES + 1), "larger than"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "config.toml").write_text(text)
    with pytest.raises(CarboyError, match=message) as caught:
        read(tmp_path)
    assert caught.value.code == 125


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "config.toml").mkdir()
    with pytest.raises(CarboyError, match="cannot be read"):
        read(tmp_path)
