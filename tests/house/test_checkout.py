"""Where ``scripts/try.py`` and ``scripts/test.py`` put their environment."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


@pytest.fixture
def checkout_module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("checkout", SCRIPTS / "checkout.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_new_checkout_gets_a_folder_inside(checkout_module: ModuleType, tmp_path: Path) -> None:
    assert checkout_module.find_place(tmp_path, {}) == tmp_path / ".venv"


def test_one_that_somebody_else_made_is_left_alone(checkout_module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    place = checkout_module.find_place(tmp_path, {"XDG_CACHE_HOME": "/cache"})
    assert place.parent == Path("/cache/carboy/checkouts")
    (tmp_path / ".venv" / checkout_module.STAMP).write_text(json.dumps({}))
    assert checkout_module.find_place(tmp_path, {}) == tmp_path / ".venv"


def test_the_variable_wins(checkout_module: ModuleType, tmp_path: Path) -> None:
    assert checkout_module.find_place(tmp_path, {"CARBOY_VENV": "/else/where"}) == Path("/else/where")


def test_a_changed_source_is_noticed(checkout_module: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "pyproject.toml").touch()
    before = checkout_module._package_digest(tmp_path)
    (tmp_path / "src" / "new.py").touch()
    assert checkout_module._package_digest(tmp_path) != before


def test_a_folder_of_somebody_elses_is_never_emptied(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    environ = {**os.environ, "CARBOY_VENV": str(tmp_path)}
    script = [sys.executable, str(SCRIPTS / "try.py"), "version"]
    done = subprocess.run(script, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert (tmp_path / "precious").exists()


def test_what_was_uninstalled_is_installed_again(
    checkout_module: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = (SCRIPTS.parent / "requirements" / "run.lock").read_bytes()
    stamp = {
        "python": [sys.version, os.path.realpath(sys.executable)],
        "locks": [hashlib.sha256(lock).hexdigest()],
        "package": checkout_module._package_digest(SCRIPTS.parent),
    }
    (tmp_path / checkout_module.STAMP).write_text(json.dumps(stamp))
    installed: list[list[str]] = []
    monkeypatch.setattr(checkout_module, "_pip", lambda place, arguments, environ: installed.append(arguments))
    checkout_module._bring_up_to_date(tmp_path, "run", {})
    assert [arguments[-1] for arguments in installed] == [str(SCRIPTS.parent)]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "carboy").touch()
    checkout_module._bring_up_to_date(tmp_path, "run", {})
    assert len(installed) == 1


@pytest.mark.xdist_group("grouped")
def test_groups_of_tests_hold(request: pytest.FixtureRequest) -> None:
    """Tests that share a home must run in one worker: the plugin says so by a suffix, where it still works."""
    if not hasattr(request.config, "workerinput"):
        pytest.skip("there is one process only")
    assert request.node.nodeid.endswith("@grouped")
