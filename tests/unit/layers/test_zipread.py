"""Stored members of a zip, and zips that are damaged or say what they are not."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from carboy.layers.errors import LayerError
from carboy.layers.zipread import read_members


def pack(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


def read(tmp_path: Path, data: bytes) -> dict[str, bytes]:
    path = tmp_path / "a.zip"
    path.write_bytes(data)
    with path.open("rb") as file:
        found = {}
        for name, section in read_members(file).items():
            pieces = []
            while piece := section.read(7):
                pieces.append(piece)
            found[name] = b"".join(pieces)
        return found


def test_members_are_read(tmp_path: Path) -> None:
    members = {"metadata.json": b"{}", "pkg-a.tar.zst": b"x" * 1000, "empty": b""}
    assert read(tmp_path, pack(members)) == members


def test_other_forms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LayerError, match="a form that is not read"):
        read(tmp_path, pack({"a": b"a" * 100}, zipfile.ZIP_DEFLATED))
    with pytest.raises(LayerError, match="no zip archive"):
        read(tmp_path, b"")
    with pytest.raises(LayerError, match="directory that is not its own"):
        read(tmp_path, pack({str(n): b"" for n in range(100)}))
    twice = pack({"a": b"1", "b": b"2"}).replace(b"b", b"a")
    with pytest.raises(LayerError, match="twice"):
        read(tmp_path, twice)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])  # machines are busy at times
@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_damage_is_an_error_or_harmless(tmp_path: Path, at: int, noise: bytes) -> None:
    data = bytearray(pack({"metadata.json": b"{}", "pkg-a.tar.zst": b"x" * 100}))
    data[at : at + len(noise)] = noise
    try:
        found = read(tmp_path, bytes(data))
    except LayerError:
        return
    assert sum(map(len, found.values())) <= len(data) * 2
