"""Trees of commits: what a tar that was brought says is what was packed; and what is no such tar is refused."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from carboy.base.home import open_home
from carboy.build.folder.trees import pack_tree, read_packed
from carboy.errors import CarboyError
from carboy.layers.tarread import REGULAR, SYMLINK, Member
from carboy.layers.tarwrite import TarWriter
from carboy.store.store import Store

PROJECT = '[build-system]\nrequires = ["flit-core"]\nbuild-backend = "flit_core.buildapi"\n'


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(open_home(str(tmp_path / "home")))


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = tmp_path / "checkout"
    (folder / ".git" / "refs" / "tags").mkdir(parents=True)
    (folder / ".git" / "refs" / "tags" / "v1").write_text("0" * 40 + "\n")
    (folder / "sub").mkdir()
    (folder / "sub" / "pyproject.toml").write_text(PROJECT)
    (folder / "setup.py").write_text("")
    (folder / "link").symlink_to("setup.py")
    (folder / "zeros").write_bytes(bytes(100_000))
    return folder


@pytest.mark.parametrize("history", [True, False])
def test_a_tree_says_of_itself_what_its_checkout_said(store: Store, checkout: Path, *, history: bool) -> None:
    sha256, path = pack_tree(store, str(checkout), "x", history=history)
    found, system = read_packed(path, subdirectory="", shown="x")
    assert (found, system.backend) == (sha256, "setuptools.build_meta:__legacy__")
    found, system = read_packed(path, subdirectory="sub", shown="x")
    assert (found, system.requires) == (sha256, ("flit-core",))
    with pytest.raises(CarboyError, match="are not what a build takes"):
        read_packed(path, subdirectory="gone", shown="x")
    # A tag that is another one is seen, where the history counts.
    (checkout / ".git" / "refs" / "tags" / "v1").write_text("1" * 40 + "\n")
    assert (pack_tree(store, str(checkout), "x", history=history)[0] == sha256) is not history


@pytest.mark.parametrize(
    ("name", "kind"), [(b"source/pyproject.toml", SYMLINK), (b"../pyproject.toml", REGULAR), (b"source/x", b"3")]
)
def test_what_no_commit_has_is_refused(tmp_path: Path, name: bytes, kind: bytes) -> None:
    out = io.BytesIO()
    writer = TarWriter(out)
    writer.add(Member(name=name, kind=kind, linkname=b"setup.py" if kind == SYMLINK else b""))
    writer.finish()
    (tmp_path / "brought.tar").write_bytes(out.getvalue())
    with pytest.raises(CarboyError, match="are not what a build takes"):
        read_packed(str(tmp_path / "brought.tar"), subdirectory="", shown="x")
    (tmp_path / "brought.tar").write_bytes(b"no tar at all" * 100)
    with pytest.raises(CarboyError, match="are not what a build takes"):
        read_packed(str(tmp_path / "brought.tar"), subdirectory="", shown="x")
