"""Wildcards, modes, owners and recipes: pure."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING

import pytest

from carboy.build.copying.modes import parse_chmod
from carboy.build.copying.owners import Owners, resolve_chown, resolve_owner
from carboy.build.copying.wildcards import compile_component
from carboy.build.graph.keys import step_key
from carboy.build.graph.ops import (
    CacheMount,
    Copy,
    CopyItem,
    InlineFile,
    LocalContext,
    MakeFolder,
    Run,
    Scratch,
    SecretMount,
)
from carboy.build.solver.bases import parse_time
from carboy.build.solver.downloads import show_url
from carboy.errors import CarboyError
from carboy.layers.compression import open_archive, open_decompressed
from carboy.layers.errors import LayerError
from carboy.snapshots.merged import Folder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "a", True), ("*.py", "a.py", True), ("*.py", "a.pyc", False), ("?", "ab", False), ("a?", "ab", True),
        ("[a-c]x", "bx", True), ("[^a-c]x", "bx", False), ("[^a-c]x", "dx", True), ("\\*", "*", True), ("\\*", "a", False),
        ("[\\]]", "]", True), ("[[]", "[", True), ("[c-a]", "b", False), ("a.b", "axb", False), ("*", "a\nb", True),
    ],
)  # fmt: skip
def test_patterns_are_gos(pattern: str, name: str, fits: bool) -> None:
    assert (compile_component(pattern).fullmatch(name) is not None) == fits


@pytest.mark.parametrize("pattern", ["[", "[a", "[]", "[-a]", "a\\", "[a-"])
def test_patterns_that_are_not_closed(pattern: str) -> None:
    with pytest.raises(CarboyError):
        compile_component(pattern)


@pytest.mark.parametrize(
    ("text", "mode", "is_folder", "result"),
    [
        ("644", 0o777, False, 0o644), ("7777", 0, False, 0o7777), ("u=rwX,go=rX", 0o600, False, 0o644),
        ("u=rwX,go=rX", 0o700, False, 0o755), ("u=rwX,go=rX", 0o600, True, 0o755), ("+x", 0o644, False, 0o755),
        ("a-w", 0o666, False, 0o444), ("g=u", 0o640, False, 0o660), ("u+s,g+s,+t", 0o755, False, 0o7755),
        ("o=", 0o777, False, 0o770), ("u+x-w", 0o644, False, 0o544), ("go-rwx", 0o755, True, 0o700), ("u=", 0o4755, False, 0o055),
    ],
)  # fmt: skip
def test_modes(text: str, mode: int, is_folder: bool, result: int) -> None:
    change = parse_chmod(text)
    assert change is not None
    assert change.apply(mode, is_folder=is_folder) == result


@pytest.mark.parametrize("text", ["8", "77777", "rwx", "u=q", "u", ",", "u=r,", "-1"])
def test_no_modes(text: str) -> None:
    with pytest.raises(CarboyError, match="is not a mode"):
        parse_chmod(text)


@pytest.fixture
def root(tmp_path: Path) -> Folder:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "passwd").write_text("root:x:0:0::/:\napp:x:100:200::/home/app:/bin/sh\n")
    (tmp_path / "etc" / "group").write_text("root:x:0:\nstaff:x:50:app\n")
    with Folder([os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)]) as folder:
        yield folder  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("", None),
        ("1000", (1000, 1000)),
        ("1000:5", (1000, 5)),
        ("app", (100, 200)),
        ("app:staff", (100, 50)),
        ("7:staff", (7, 50)),
    ],
)
def test_trap_32_chown(root: Folder, text: str, ids: tuple[int, int] | None) -> None:
    assert resolve_chown(text, root) == ids


@pytest.mark.parametrize("text", ["nobody", "app:wheel", "99999999999"])
def test_trap_33_unknown_owners_are_refused_as_the_reference_says(root: Folder, text: str) -> None:
    with pytest.raises(CarboyError):
        resolve_chown(text, root)


def test_trap_33_names_need_an_image() -> None:
    with pytest.raises(CarboyError, match="--link"):
        resolve_chown("app", None)


def test_trap_30_whose_a_folder_is(root: Folder) -> None:
    assert [resolve_owner(text, root) for text in ("", "app", "app:staff", "1000", "5:6")] == [
        (0, 0), (100, 200), (100, 50), (1000, 0), (5, 6),
    ]  # fmt: skip


def test_owners_that_lower_layers_noted(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b").touch()
    (tmp_path / "c").touch()
    lower = Owners({b"a": (1, 2), b"c": (3, 4), b"gone": (5, 6)})
    assert lower.restrict(str(tmp_path), {b"a/b": (7, 8), b"c": (0, 0)}) == {b"a": (1, 2), b"a/b": (7, 8)}


def key(op: Run | Copy | MakeFolder, parent: tuple[str, ...] = ("p",), **changes: object) -> str:
    return step_key(op, parent=parent, epoch_s=0, **changes)  # type: ignore[arg-type]


def test_every_input_of_a_run_counts() -> None:
    scratch = Scratch()
    plain = Run(parent=scratch, args=("make",), env=("A=1",))
    others = [
        Run(parent=scratch, args=("make", "all"), env=("A=1",)),
        Run(parent=scratch, args=("make",), env=("A=2",)),
        Run(parent=scratch, args=("make",), env=("A=1",), cwd="/x"),
        Run(parent=scratch, args=("make",), env=("A=1",), user="u"),
        Run(parent=scratch, args=("make",), env=("A=1",), network="none"),
        Run(parent=scratch, args=("make",), env=("A=1",), security="insecure"),
        Run(parent=scratch, args=("make",), env=("A=1",), files=(InlineFile(name="E", content=b"x"),)),
        Run(parent=scratch, args=("make",), env=("A=1",), mounts=(CacheMount(target="/c", id="i"),)),
        Run(parent=scratch, args=("make",), env=("A=1",), mounts=(SecretMount(id="s", target="/s"),)),
    ]
    keys = {key(plain), key(plain, ("q",)), key(plain, inputs=("i",)), *map(key, others)}
    assert len(keys) == 3 + len(others)


def test_trap_62_what_does_not_count_of_a_run() -> None:
    def run(**changes: object) -> Run:
        return Run(parent=Scratch(), args=("x",), **changes)  # type: ignore[arg-type]

    assert key(run()) == key(run(unkeyed_env=("HTTP_PROXY=http://user:pw@proxy",), title="t", no_cache=True))
    caches = [CacheMount(target="/c", id=i, sharing=s) for i, s in (("a", "shared"), ("b", "locked"))]  # type: ignore[arg-type]
    assert len({key(run(mounts=(mount,))) for mount in caches}) == 1


def test_a_linked_copy_does_not_depend_on_its_parent() -> None:
    def copy(**changes: object) -> Copy:
        items = (CopyItem(origin=LocalContext(), path="a"),)
        return Copy(parent=Scratch(), items=items, destination="/", **changes)  # type: ignore[arg-type]

    assert key(copy(link=True), ("p",)) == key(copy(link=True), ("q",))
    assert key(copy(), ("p",)) != key(copy(), ("q",))
    assert key(copy(link=True, chmod="600"), ("p",)) != key(copy(link=True, chmod="600"), ("q",))


def test_times_of_other_tools() -> None:
    assert parse_time("1970-01-02T00:00:00Z") == 86400
    assert parse_time("1970-01-02T01:00:00.123456789+01:00") == 86400
    assert parse_time("nonsense") == parse_time("") == 0


def test_addresses_are_shown_without_secrets() -> None:
    assert show_url("https://user:pw@host:8443/a/b?token=1#f") == "https://host:8443/a/b"


@pytest.mark.parametrize("module", ["bz2", "lzma"])
def test_archives_of_people(module: str) -> None:
    import importlib

    compress = importlib.import_module(module).compress
    data = compress(b"one") + compress(b"two")
    stream = open_archive(io.BytesIO(data))
    assert b"".join(iter(lambda: stream.read(2), b"")) == b"onetwo"
    assert open_decompressed(io.BytesIO(data)).read() == data
    with pytest.raises(LayerError):
        open_archive(io.BytesIO(data[:-20])).read() + open_archive(io.BytesIO(data[:20])).read()


@pytest.mark.slow
def test_a_bomb_of_bzip2_is_stopped() -> None:
    import bz2

    bomb = bz2.compress(bytes(2**20)) * 600
    stream = open_archive(io.BytesIO(bomb))
    with pytest.raises(LayerError, match="times its size"):
        list(iter(lambda: stream.read(2**20), b""))
