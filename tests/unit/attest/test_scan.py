"""Packages found in layers: whatever lies there, nothing else is read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from carboy.attest import scan
from carboy.attest.packages import System

if TYPE_CHECKING:
    from pathlib import Path


def put(tree: Path, **files: str) -> None:
    for name, text in files.items():
        path = tree / name.replace("__", "/").replace("_DASH_", "-").replace("_DOT_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(*trees: Path) -> list[str]:
    return [package.name for package in scan.scan([str(tree) for tree in trees])[1]]


@pytest.fixture
def lower(tmp_path: Path) -> Path:
    lower = tmp_path / "lower"
    put(
        lower,
        etc__os_DASH_release="ID=debian\nVERSION_ID=12\n",
        var__lib__dpkg__status="Package: jq\nStatus: install ok installed\nVersion: 1.6\nArchitecture: amd64\n",
        opt__env__lib__numpy_DASH_2_DOT_0_DOT_dist_DASH_info__METADATA="Name: numpy\nVersion: 2.0\n\n",
        usr__lib__R__library__Rcpp__DESCRIPTION="Package: Rcpp\nVersion: 1.0\nBuilt: R 4.2\n",
        usr__lib__R__library__Rcpp__Meta__package_DOT_rds="",
    )
    return lower


def test_what_layers_have(lower: Path, tmp_path: Path) -> None:
    assert scan.scan([str(lower)])[0] == System(id="debian", version="12")
    assert names(lower) == ["Rcpp", "jq", "numpy"]
    upper = tmp_path / "upper"
    put(upper, var__lib__dpkg__status="", opt__env__lib__numpy_DASH_2_DOT_0_DOT_dist_DASH_info__RECORD="")
    assert names(lower, upper) == ["Rcpp", "numpy"]
    assert names() == []
    put(
        upper,
        opt__conda__conda_DASH_meta__zlib_DOT_json='{"name": "zlib", "version": "1.3"}',
        opt__conda__conda_DASH_meta__history="x",
    )
    assert names(upper) == ["zlib"]


def test_licences_of_debian_packages(lower: Path) -> None:
    put(lower, usr__share__doc__other__copyright="Format: 1\n\nFiles: *\nLicense: MIT\n", usr__share__doc__x="")
    (lower / "usr" / "share" / "doc" / "jq").symlink_to("other")
    found = {one.name: one.licence_text for one in scan.scan([str(lower)], copyrights=True)[1]}
    assert found == {"Rcpp": "", "jq": "MIT", "numpy": ""}
    assert {one.licence_text for one in scan.scan([str(lower)])[1]} == {""}


def test_what_is_hostile(lower: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = tmp_path / "outside"
    put(outside, status="Package: host\nStatus: install ok installed\nVersion: 1\n")
    status = lower / "var" / "lib" / "dpkg" / "status"
    status.unlink()
    status.symlink_to(outside / "status")
    (lower / "opt" / "up").symlink_to(outside)
    (lower / "opt" / "round").symlink_to(lower / "opt")
    fifo = lower / "opt" / "x.dist-info"
    fifo.mkdir()
    os.mkfifo(fifo / "METADATA")
    assert names(lower) == ["Rcpp", "numpy"]
    monkeypatch.setattr(scan, "MAX_METADATA_BYTES", 5)
    assert names(lower) == []
