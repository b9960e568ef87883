"""A folder's ``postBuild``: the last step of its build, run as a RUN step is, once, in a layer of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
RAN = "run .binder/postBuild: "


def copy_sample(carboy: Carboy, place: Path) -> Path:
    """Return a copy of the sample folder that is the person's."""
    shutil.copytree(PROJECTS / "post-build", place)
    for path in (place, *place.rglob("*")):
        os.chown(path, carboy.person.uid, carboy.person.gid)
    return place


def build(carboy: Carboy, folder: Path, *options: str, expect: int = 0) -> str:
    return carboy("build", "--progress", "plain", *options, str(folder), expect=expect, timeout_s=200).stderr


def read_layers(carboy: Carboy, name: str) -> list[str]:
    return [layer["Digest"] for layer in json.loads(carboy("inspect", name).stdout)[0]["Layers"]]


@pytest.mark.timeout(300)
def test_the_last_step_of_a_folder(folders_carboy: Carboy, tmp_path: Path, leftovers: Leftovers) -> None:
    carboy, folder = folders_carboy, copy_sample(folders_carboy, tmp_path / "folder")
    assert RAN in build(carboy, folder, "-t", "post:1")
    assert "answer  42" in carboy("run", "--rm", "--network", "none", "post:1").stdout
    assert RAN not in build(carboy, folder, "-t", "post:1")

    # The files count; without a network it is run without one, and what it gives is not for others.
    script = folder / ".binder" / "postBuild"
    script.write_text(script.read_text() + "[ -e /sys/class/net/carboy0 ] || ls /sys/class/net >/opt/fetched/net\n")
    assert RAN in build(carboy, folder, "--offline", "-t", "post:offline")
    assert carboy("run", "--rm", "post:offline", "cat", "/opt/fetched/net").stdout == "lo\n"
    assert RAN in build(carboy, folder, "-t", "post:2")
    assert read_layers(carboy, "post:2")[:-2] == read_layers(carboy, "post:1")[:-2]
    assert RAN not in build(carboy, folder, "--offline", "-t", "post:offline")
    assert read_layers(carboy, "post:offline") == read_layers(carboy, "post:2")

    script.write_text("#!/bin/sh -e\necho first\n>/half-made\nno-such-tool --now\n")
    error = build(carboy, folder, expect=1)
    assert "error: .binder/postBuild ended with status 127" in error
    assert "first\n" in error
    assert "no-such-tool: not found" in error
    assert "apt.txt" in error
    assert "has no network" in build(carboy, folder, "--offline", expect=1)
    script.write_text("#!/no/such/interpreter\n")
    assert "/no/such/interpreter" in build(carboy, folder, expect=1)
    (folder / "carboy.toml").write_text("[build]\npost-build = false\n")
    assert "postBuild" not in build(carboy, folder)
    assert leftovers.find() == []


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_build_that_is_ended_in_it_leaves_nothing(
    folders_carboy: Carboy, tmp_path: Path, leftovers: Leftovers, number: signal.Signals
) -> None:
    carboy, folder = folders_carboy, copy_sample(folders_carboy, tmp_path / "folder")
    (folder / ".binder" / "postBuild").write_text("echo is there\nexec sleep 100\n")
    process = carboy.start("build", "--progress", "plain", str(folder))
    assert process.stderr is not None
    assert any("is there" in line for line in process.stderr)
    os.killpg(process.pid, number)
    process.communicate(timeout=60)
    assert process.returncode in {130, -number}
    assert leftovers.find() == []
    (folder / ".binder" / "postBuild").write_text(
        "echo 1 >made.txt; mkdir -p /opt/fetched; >/opt/fetched/requirements.txt\n"
    )
    assert "1" in carboy("run", "--rm", "--network", "none", str(folder)).stdout


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(400)
@pytest.mark.xdist_group("tiers")
def test_the_last_step_in_every_tier(tier_carboy: Carboy) -> None:
    folder = copy_sample(tier_carboy, tier_carboy.temporary / f"post-{os.urandom(4).hex()}")
    done = tier_carboy("run", "--rm", "--network", "none", str(folder), timeout_s=390)
    assert "answer  42" in done.stdout
