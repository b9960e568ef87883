"""A container's records on disk: whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.containers.record import ContainerConfig, ContainerState, read_boot, read_json, replace_file, write_record

TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)


def make_config(**fields: object) -> ContainerConfig:
    values = {"id": "c1", "image": "debian", "manifest": "sha256:0", "layers": ("sha256:1",), "created_at_s": 1.5}
    return ContainerConfig(**{**values, "args": ("sh",), **fields})  # type: ignore[arg-type]


@given(args=st.lists(TEXTS, min_size=1), labels=st.lists(st.tuples(TEXTS, TEXTS)), env=st.lists(TEXTS))
def test_a_config_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, args: list[str], labels: list[tuple[str, str]], env: list[str]
) -> None:
    folder = str(tmp_path_factory.getbasetemp())
    config = make_config(args=tuple(args), labels=tuple(labels), env=tuple(env))
    write_record(folder, "config", config)
    value = read_json(f"{folder}/config.json")
    assert value is not None
    assert ContainerConfig.from_json(value) == config


def test_a_state_with_health_comes_back_as_it_was(tmp_path: Path) -> None:
    state = ContainerState(status="running", pid=7, health_log=((1.0, 2.5, 1, "no\nroute"),), boot=read_boot())
    write_record(str(tmp_path), "state", state)
    value = read_json(f"{tmp_path}/state.json")
    assert value is not None
    assert ContainerState.from_json(value) == state


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'"x"', b"\xff\xfe"])
def test_what_a_power_cut_left_is_no_record(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "state.json").write_bytes(content)
    assert read_json(f"{tmp_path}/state.json") is None
    assert read_json(f"{tmp_path}/none.json") is None


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.json"
    replace_file(str(path), b"before")
    write = os.write
    calls = []

    def write_half(fd: int, data: memoryview) -> int:
        calls.append(len(data))
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        return write(fd, data[: len(data) // 2])

    monkeypatch.setattr(os, "write", write_half)
    with pytest.raises(OSError, match="No space"):
        replace_file(str(path), b"afterwards")
    assert path.read_bytes() == b"before"
    assert calls == [10, 5]


def test_records_are_the_callers_alone(tmp_path: Path) -> None:
    write_record(str(tmp_path), "config", make_config())
    assert (tmp_path / "config.json").stat().st_mode & 0o777 == 0o600
