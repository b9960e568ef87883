"""The programs that run in the sandbox, run here by the Python of the tests on a tree of their own."""

from __future__ import annotations

import importlib.util
import marshal
import subprocess
import sys
from pathlib import Path

import pytest

from carboy.environments import list_step
from carboy.environments.conda import compile_step

pytestmark = pytest.mark.slow


def run(program: str | None, *arguments: str) -> str:
    command = [sys.executable, "-I", str(program), *arguments]
    environ = {"PYTHONHASHSEED": "0"}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=environ).stdout


def write_tree(layers: Path) -> Path:
    site = layers / "0/lib/python3.11/site-packages"
    for path, text in {
        "pkg/__init__.py": "X = {'a', 'b'}\n",
        "pkg/broken.py": "def (\n",
        "single.py": "Y = 1\n",
        "pkg-1.dist-info/METADATA": "Name: pkg\n",
    }.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    (layers / "0/lib/python3.11/os.py").write_text("Z = 2\n")
    (layers / "0/lib/python3").symlink_to("python3.11")
    (layers / "1/share").mkdir(parents=True)
    (layers / "1/share/large").write_bytes(b"x" * 600)
    (layers / "1/share/more").write_bytes(b"x" * 600)
    return site


def test_modules_are_compiled_the_same_each_time_and_trees_are_cut(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        site = write_tree(tmp_path / name)
        run(compile_step.__file__, "/opt/conda", str(tmp_path / name), "1000")
        found.append(
            {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.pyc")}
        )
    assert found[0] == found[1]
    assert len(found[0]) == 3
    cached = Path(importlib.util.cache_from_source(str(site / "single.py"))).read_bytes()
    assert int.from_bytes(cached[4:8], "little") == 1  # by hash, and never checked
    assert marshal.loads(cached[16:]).co_filename == "/opt/conda/lib/python3.11/site-packages/single.py"
    assert sorted(path.name for path in (tmp_path / "b").glob("1*/share/*")) == ["large", "more"]
    assert (tmp_path / "b/1.1/share/more").exists()


def test_what_an_interpreter_has_is_listed() -> None:
    lines = run(list_step.__file__).splitlines()
    assert lines == sorted(lines)
    assert any(line.startswith("pytest==") for line in lines)
