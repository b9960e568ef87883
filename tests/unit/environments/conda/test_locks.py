"""Locks of conda's and pixi's tools, and the lines of ours."""

from __future__ import annotations

import pytest

from carboy.environments.conda.locks import parse_conda_lock, parse_pixi_lock
from carboy.environments.conda.wants import parse_line, split_file_name
from carboy.environments.lockfile import LockFile, explain_drift, parse_lockfile, render_lockfile
from carboy.errors import CarboyError

BASE = "https://conda.anaconda.org/conda-forge"
A, B, C = ("a" * 64, "b" * 64, "c" * 64)

CONDA_LOCK = f"""\
version: 1
metadata:
  content_hash: {{linux-64: x}}
  channels: [{{url: conda-forge, used_env_vars: []}}]
  platforms: [linux-64, osx-64]
  sources: [environment.yml]
package:
- name: zlib
  version: 1.3.1
  manager: conda
  platform: linux-64
  dependencies: {{libzlib: 1.3.1}}
  url: {BASE}/linux-64/zlib-1.3.1-hb9d3cd8_2.conda
  hash: {{md5: 0123, sha256: {A}}}
  category: main
  optional: false
- name: pytz
  version: '2024.1'
  manager: conda
  platform: linux-64
  dependencies: {{}}
  url: https://conda.example.org/ours/noarch/pytz-2024.1-pyhd8ed1ab_0.tar.bz2
  hash: {{md5: 0123, sha256: {B}}}
  category: main
  optional: false
- name: pytest
  version: '8'
  manager: conda
  platform: linux-64
  url: {BASE}/noarch/pytest-8-0.conda
  hash: {{sha256: {B}}}
  category: dev
- name: click
  version: 8.1.7
  manager: pip
  platform: linux-64
  url: https://files.example.org/click-8.1.7-py3-none-any.whl
  hash: {{sha256: {C}}}
  category: main
- name: zlib
  version: 1.3.1
  manager: conda
  platform: osx-64
  url: {BASE}/osx-64/zlib-1.3.1-h_2.conda
  hash: {{sha256: {C}}}
  category: main
"""
PIXI_LOCK = f"""\
version: 6
environments:
  default:
    channels:
    - url: {BASE}/
    packages:
      linux-64:
      - conda: {BASE}/linux-64/zlib-1.3.1-hb9d3cd8_2.conda
      - conda: https://conda.example.org/ours/noarch/pytz-2024.1-pyhd8ed1ab_0.tar.bz2
      - pypi: https://files.example.org/click-8.1.7-py3-none-any.whl
      - pypi: ./
packages:
- conda: {BASE}/linux-64/zlib-1.3.1-hb9d3cd8_2.conda
  sha256: {A}
  md5: '0123'
  size: 92286
- conda: https://conda.example.org/ours/noarch/pytz-2024.1-pyhd8ed1ab_0.tar.bz2
  sha256: {B}
- pypi: https://files.example.org/click-8.1.7-py3-none-any.whl
  name: click
  version: 8.1.7
  sha256: {C}
  requires_python: '>=3.7'
- pypi: ./
  name: sample
  version: 0.1
  editable: true
"""
PIXI_5 = (
    PIXI_LOCK.replace("version: 6", "version: 5")
    .replace("\n- conda: ", "\n- kind: conda\n  url: ")
    .replace("\n- pypi: ./", "\n- kind: pypi\n  path: ./")
    .replace("\n- pypi: ", "\n- kind: pypi\n  url: ")
)
LINES = [
    f"pytz 2024.1 https://conda.example.org/ours/noarch/pytz-2024.1-pyhd8ed1ab_0.tar.bz2 sha256:{B}",
    f"zlib 1.3.1 conda-forge/linux-64/zlib-1.3.1-hb9d3cd8_2.conda sha256:{A}",
]


@pytest.mark.parametrize("text", [CONDA_LOCK, PIXI_LOCK, PIXI_5])
def test_every_lock_says_the_same(text: str) -> None:
    parse = parse_conda_lock if "metadata" in text else parse_pixi_lock
    wants = parse(text, subdir="linux-64")
    assert [package.line for package in wants.packages] == LINES
    assert [parse_line(line).line for line in LINES] == LINES
    assert wants.pip is not None
    assert wants.pip.requirements == "click==8.1.7\n"
    assert wants.pip.allowed == f"click==8.1.7 --hash=sha256:{C}\n"
    assert wants.packages[1].size_bytes == (92286 if parse is parse_pixi_lock else 0)


def test_a_lock_without_this_platform_is_refused() -> None:
    with pytest.raises(CarboyError, match=r"conda-lock\.yml has no packages for linux-aarch64") as caught:
        parse_conda_lock(CONDA_LOCK, subdir="linux-aarch64")
    assert "linux-64, osx-64" in caught.value.details
    assert "conda-lock lock --platform linux-aarch64" in caught.value.hint
    with pytest.raises(CarboyError, match=r"pixi\.lock has no packages for linux-aarch64"):
        parse_pixi_lock(PIXI_LOCK, subdir="linux-aarch64")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1\n", "version: 2\n", "a version that is not read"),
        (f"sha256: {A}", "x: y", "no SHA-256 for zlib 1.3.1"),
        (f"hash: {{sha256: {C}}}\n  category: main\n- name: zlib", "category: main\n- name: zlib", "no SHA-256 for click 8.1.7"),
        ("zlib-1.3.1-hb9d3cd8_2.conda", "zlib.conda", "no package of conda's"),
        ("zlib-1.3.1-hb9d3cd8_2.conda", "zlib-1.3.1-hb9d3cd8_2.exe", "no package of conda's"),
        (f"{BASE}/linux-64/zlib", "zlib", "no package of a channel"),
        (f"{BASE}/linux-64/zlib", "https://u:p@x.example/linux-64/zlib", "has a login"),
        ("- name: pytz", "- name", "no list of packages"),
        (f"{BASE}/linux-64/zlib", "https://x.example/c/linux-64/pytz", "names pytz twice"),
    ],
)  # fmt: skip
def test_a_wrong_lock_is_refused(old: str, new: str, message: str) -> None:
    assert old in CONDA_LOCK
    text = CONDA_LOCK.replace(old, new, 1)
    if new == "- name":
        text = "version: 1\npackage: [a]\n"
    with pytest.raises(CarboyError, match=message) as caught:
        parse_conda_lock(text, subdir="linux-64")
    assert caught.value.hint


def test_a_wrong_lock_of_pixi_is_refused() -> None:
    for old, new, message in (
        ("version: 6", "version: 4", "version 4, which is not read"),
        ("default:", "test:", "no environment default"),
        (f"  sha256: {A}\n", "", "no SHA-256 for zlib"),
        (f"  sha256: {C}\n", "", "no SHA-256 for click"),
        ("pypi: ./", "pypi: ../other", "no SHA-256 for sample"),
    ):
        assert old in PIXI_LOCK
        text = PIXI_LOCK.replace(old, new) if old.startswith("pypi") else PIXI_LOCK.replace(old, new, 1)
        with pytest.raises(CarboyError, match=message):
            parse_pixi_lock(text, subdir="linux-64")


def test_file_names_have_three_parts() -> None:
    assert split_file_name("_libgcc_mutex-0.1-conda_forge.tar.bz2", where="f") == ("_libgcc_mutex", "0.1")
    assert split_file_name("a-b-c-1!2.0-h1_0.conda", where="f") == ("a-b-c", "1!2.0")
    for wrong in ("a.conda", "a-1.conda", "a-1-.conda", "a-1-0/../x.conda", "-1-0.conda"):
        with pytest.raises(CarboyError):
            split_file_name(wrong, where="f")


def test_our_lock_holds_condas_packages() -> None:
    lock = LockFile(inputs="sha256:x", base="debian:bookworm", base_packages=(), python=(), conda=tuple(LINES))
    text = render_lockfile(lock)
    assert parse_lockfile(text) == lock
    assert "[conda]" not in render_lockfile(LockFile(inputs="", base="", base_packages=(), python=()))
    with pytest.raises(CarboyError, match="names no package"):
        parse_lockfile(text.replace("zlib 1.3.1 ", "zlib "))
    newer = [LINES[0], LINES[1].replace("1.3.1", "1.3.2")]
    assert explain_drift(LINES, newer) == ["zlib 1.3.1 is 1.3.2 now"]
