"""A small image for tests of the program: busybox and two files of users, made in the home of any tier without a build."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sandboxes import make_busybox_root

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Carboy

SMALL = "small:test"

DRIVER = r"""
import os, shutil, sys
from carboy.engine.context import Engine
from carboy.images.assemble import BuiltLayer, assemble
from carboy.layers.apply import commit_tree
from carboy.oci.config import RunConfig
from carboy.oci.reference import Reference

source, name = sys.argv[1:]
engine = Engine.open(os.environ)
with engine.store.lease("small image"), engine.store.layers.ingest_dir() as ingest:
    shutil.copytree(source, f"{ingest}/tree", symlinks=True, dirs_exist_ok=True)
    layer = commit_tree(engine.store, ingest, mtime_cap=0)
    descriptor = assemble(
        engine.store,
        [BuiltLayer(layer=layer, created_by="test")],
        config=RunConfig(Env=["PATH=/bin"], Cmd=["sh"]),
        created="1970-01-01T00:00:00Z",
        comment="",
    )
    engine.store.refs.set(str(Reference.parse(name)), descriptor)
"""


def make_image(carboy: Carboy, source: Path, name: str) -> None:
    """Make an image of the files below ``source`` in a runner's home."""
    python = shutil.which("python", path=carboy.program[0].rpartition("/")[0]) or carboy.program[0]
    replace(carboy, program=(python, "-I", "-c", DRIVER))(str(source), name)


def has_image(carboy: Carboy, name: str) -> bool:
    """Return whether a runner's home has a name: by the store's own list for other tools, which costs no process."""
    try:
        index = json.loads((carboy.home / "store" / "index.json").read_bytes())
    except FileNotFoundError:
        return False
    return any(entry["annotations"].get("org.opencontainers.image.ref.name") == name for entry in index["manifests"])


def make_small_image(carboy: Carboy) -> None:
    """Make the image in a runner's home unless it is there."""
    if has_image(carboy, SMALL):
        return
    # Beside the home: what lies in the temporary folder is for others to find, and to complain of.
    place = carboy.home.with_name(f"{carboy.home.name}-small")
    with place.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several workers share the home of a tier
        if has_image(carboy, SMALL):
            return
        shutil.rmtree(place, ignore_errors=True)
        make_busybox_root(place)
        subprocess.run(["chmod", "-R", "go+rX", str(place)], check=True)
        make_image(carboy, place, SMALL)


@pytest.fixture
def small_carboy(tier_carboy: Carboy) -> Carboy:
    """Return a runner for the person of each tier in turn, whose home holds ``small:test``."""
    make_small_image(tier_carboy)
    return tier_carboy


@pytest.fixture
def small_root_carboy(carboy: Carboy) -> Carboy:
    """Return a runner for root, with an empty home but for ``small:test``."""
    make_small_image(carboy)
    return carboy
