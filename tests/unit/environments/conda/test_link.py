"""What a package's files become: paths, prefixes, scripts; and packages that mean harm."""

from __future__ import annotations

import bz2
import hashlib
import io
import os
import tarfile
from pathlib import Path

import pytest
from conda_channel import PLACEHOLDER, CondaChannel, File, add_samples, make_info, pack_bz2, pack_conda
from hypothesis import given
from hypothesis import strategies as st

from carboy.environments.conda.archive import link_package
from carboy.environments.conda.link import Layout, find_target, parse_layout, replace_prefix
from carboy.environments.conda.wants import CondaPackage, make_package
from carboy.errors import CarboyError

INDEX = {"name": "p", "version": "1", "build": "0", "depends": []}


def link(tmp_path: Path, data: bytes, suffix: str = ".conda", python: str = "3.11.2") -> Path:
    file, tree = tmp_path / "file", tmp_path / "tree"
    file.write_bytes(data)
    tree.mkdir()
    linked = link_package(package(data, suffix), str(file), str(tree), python=python, chown=False, time_s=1000)
    assert linked.names == {
        os.path.relpath(os.path.join(above, name), tree) for above, _, names in os.walk(tree) for name in names
    }
    return tree


def package(data: bytes, suffix: str = ".conda") -> CondaPackage:
    sha256 = hashlib.sha256(data).hexdigest()
    return make_package(channel="c", path=f"linux-64/p-1-0{suffix}", sha256=sha256, where="test")


def test_both_forms_become_the_same_files(tmp_path: Path) -> None:
    files = {
        "bin/run": File(f"#!{PLACEHOLDER}/bin/python\n".encode(), 0o4775, "", "text"),
        "lib/libp.so.1": File(b"\0" + PLACEHOLDER.encode() + b"/lib\0rest", 0o644, "", "binary"),
        "lib/libp.so": File(link="libp.so.1"),
        "lib/python3.11/__pycache__/x.cpython-311.pyc": File(b"old"),
    }
    info = make_info(INDEX, files)
    trees = []
    for number, (data, suffix) in enumerate(
        ((pack_conda("p-1-0", info, files), ".conda"), (pack_bz2(info, files), ".tar.bz2"))
    ):
        (tmp_path / str(number)).mkdir()
        trees.append(link(tmp_path / str(number), data, suffix))
    for tree in trees:
        assert (tree / "bin/run").read_bytes() == b"#!/opt/conda/bin/python\n"
        assert (tree / "bin/run").stat().st_mode & 0o7777 == 0o755
        assert (tree / "bin/run").stat().st_mtime == 1000
        assert (tree / "lib/libp.so.1").read_bytes() == (
            b"\0/opt/conda/lib" + bytes(len(PLACEHOLDER) - len("/opt/conda")) + b"\0rest"
        )
        assert os.readlink(tree / "lib/libp.so") == "libp.so.1"
        assert not list(tree.glob("lib/python3.11"))
        assert b'"name": "p"' in (tree / "conda-meta/p-1-0.json").read_bytes()


def test_a_package_for_any_python_is_placed_for_this_one(tmp_path: Path) -> None:
    channel = CondaChannel(tmp_path / "channel")
    file = add_samples(channel)["answers"]["file"]
    tree = link(tmp_path, (tmp_path / "channel/noarch" / file).read_bytes())
    assert (tree / "lib/python3.11/site-packages/answers/number.py").exists()
    script = (tree / "bin/answer").read_text()
    assert script.startswith("#!/opt/conda/bin/python\n")
    assert "from answers.number import main\n" in script
    assert (tree / "bin/answer").stat().st_mode & 0o777 == 0o755
    (tmp_path / "other").mkdir()
    with pytest.raises(CarboyError, match="p 1 cannot be unpacked") as caught:
        link(tmp_path / "other", (tmp_path / "channel/noarch" / file).read_bytes(), python="")
    assert "needs Python" in caught.value.details


def test_what_older_packages_say_of_prefixes() -> None:
    text = b'/old/place text bin/a\n"/old place" binary "lib/b c"\nbin/d\n'
    found = parse_layout({"has_prefix": text}, python="", package="p").placeholders
    assert found == {
        b"bin/a": (b"/old/place", False),
        b'"/old place" binary "lib/b c"'.strip(b'"'): (b"/opt/anaconda1anaconda2anaconda3", False),
        b"bin/d": (b"/opt/anaconda1anaconda2anaconda3", False),
    }


def test_prefixes_in_programs_keep_the_length() -> None:
    long = b"/long/placeholder/of/a/build"
    data = b"x\0" + long + b"/a:" + long + b"/b\0y" + long
    replaced = replace_prefix(data, long, binary=True)
    assert len(replaced) == len(data)
    assert replaced.startswith(b"x\0/opt/conda/a:/opt/conda/b\0")
    assert replaced.endswith(b"\0y" + long)  # no string ends there, so that nothing could be moved
    assert replace_prefix(data, long, binary=False).count(b"/opt/conda") == 3
    with pytest.raises(CarboyError, match="too short"):
        replace_prefix(b"/short\0", b"/short", binary=True)


@given(st.binary(max_size=300), st.integers(0, 3))
def test_programs_never_change_their_length(data: bytes, count: int) -> None:
    placeholder = b"/placeholder-of-a-build"
    text = (data + placeholder) * count + data
    assert len(replace_prefix(text, placeholder, binary=True)) == len(text)


@pytest.mark.parametrize("name", [b"../x", b"a/../../x", b"/etc/passwd", b"a/.wh.b", b".wh..wh..opq"])
def test_names_that_lead_out_are_refused(name: bytes) -> None:
    with pytest.raises(CarboyError):
        find_target(name, Layout())


def hostile(members: list[tarfile.TarInfo]) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for member in members:
            tar.addfile(member, io.BytesIO(bytes(member.size)))
    return bz2.compress(out.getvalue())


def test_links_lead_nowhere_but_into_the_prefix(tmp_path: Path) -> None:
    link_member, file = tarfile.TarInfo("lib"), tarfile.TarInfo("lib/file")
    link_member.type, link_member.linkname, file.size = tarfile.SYMTYPE, "/../../..", 3
    data = hostile([link_member, file])
    (tmp_path / "file").write_bytes(data)
    (tmp_path / "tree").mkdir()
    link_package(
        package(data, ".tar.bz2"), str(tmp_path / "file"), str(tmp_path / "tree"), python="", chown=False, time_s=1
    )
    assert {path.name for path in tmp_path.iterdir()} == {"file", "tree"}
    assert (tmp_path / "tree/file").exists()  # the link means the prefix itself, seen from inside


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = tarfile.TarInfo("dev")
    member.type = kind
    with pytest.raises(CarboyError, match="cannot be unpacked"):
        link(tmp_path, hostile([member]), ".tar.bz2")


@pytest.mark.parametrize("cut", [0, 10, 200, -10])
def test_a_damaged_package_is_named(tmp_path: Path, cut: int) -> None:
    files = {"a": File(b"a" * 5000)}
    data = pack_conda("p-1-0", make_info(INDEX, files), files)
    with pytest.raises(CarboyError, match="p 1 cannot be unpacked"):
        link(tmp_path, data[:cut])


def test_a_wrong_paths_json_is_refused(tmp_path: Path) -> None:
    info = make_info(INDEX, {})
    for text in (b"{", b'{"paths": [1]}', b"[" * 100_000):
        info["info/paths.json"] = File(text)
        with pytest.raises(CarboyError, match=r"cannot be read|cannot be unpacked"):
            parse_layout({"paths.json": text}, python="", package="p")
