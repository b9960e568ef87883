"""The main job, as a person would do it: a folder in, its answer out of a sandbox, in each tier."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.userns]


def check_answer(output: str) -> None:
    accuracy = re.search(r"accuracy\D*([01]\.\d+|\d+(?:\.\d+)?\s?%)", output, re.IGNORECASE)
    assert accuracy, output
    text = accuracy.group(1)
    assert (float(text.rstrip("% ")) / 100 if text.endswith("%") else float(text)) > 0.85
    assert re.search(r"predict\w*.*(setosa|versicolor|virginica)", output, re.IGNORECASE | re.DOTALL), output


def test_iris_prints_its_accuracy_and_a_prediction(shared_carboy: Carboy, iris: Path, leftovers: Leftovers) -> None:
    check_answer(shared_carboy("run", str(iris)).stdout)
    assert leftovers.find() == []


@pytest.mark.long
@pytest.mark.root
@pytest.mark.timeout(600)
def test_iris_in_every_tier(tier_carboy: Carboy, iris: Path, leftovers: Leftovers) -> None:
    person = tier_carboy.person
    folder = person.home / "iris" if person.uid else iris
    if person.uid:
        shutil.copytree(iris, folder, dirs_exist_ok=True)
    before = set(tier_carboy.temporary.iterdir())  # other tests of the tier have folders there
    done = tier_carboy("run", str(folder), timeout_s=580)
    check_answer(done.stdout)
    assert person.tier in tier_carboy("doctor").stdout
    assert leftovers.find() == []
    assert set(tier_carboy.temporary.iterdir()) == before


def test_second_run_builds_nothing(shared_carboy: Carboy, iris: Path) -> None:
    shared_carboy("run", str(iris))
    before = shared_carboy("images", "--json").stdout
    again = shared_carboy("run", str(iris))
    check_answer(again.stdout)
    assert shared_carboy("images", "--json").stdout == before


def test_changed_line_is_what_runs(shared_carboy: Carboy, iris: Path) -> None:
    shared_carboy("run", str(iris))
    script = next(path for path in (iris / "predict.py", iris / "train.py") if path.exists())
    script.write_text(script.read_text() + "\nprint('one more line')\n")
    assert "one more line" in shared_carboy("run", str(iris)).stdout


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 7"], 7),
        (["sh", "-c", "kill -TERM $$"], 143),
        (["/etc/passwd"], 126),
        (["/no/such/program"], 127),
    ],
)
def test_exit_status_is_kept(shared_carboy: Carboy, arguments: list[str], status: int, leftovers: Leftovers) -> None:
    shared_carboy("run", "--rm", "--network", "none", "iris:test", *arguments, expect=status)
    assert leftovers.find() == []


def test_standard_input_and_output_are_clean(shared_carboy: Carboy) -> None:
    done = shared_carboy("run", "--rm", "-i", "iris:test", "cat", input="one\ntwo\n")
    assert done.stdout == "one\ntwo\n"
    assert done.stderr == ""


def test_options_reach_the_process(shared_carboy: Carboy) -> None:
    options = ["-e", "GREETING=hello there", "-w", "/tmp", "-u", "65534:65534", "--entrypoint", "/bin/sh"]
    done = shared_carboy("run", "--rm", *options, "iris:test", "-c", 'echo "$GREETING"; pwd; id -u; id -g')
    assert done.stdout.splitlines() == ["hello there", "/tmp", "65534", "65534"]


def test_start_of_an_image_imports_nothing_heavy(shared_carboy: Carboy) -> None:
    timed = shared_carboy.using(shared_carboy.home, PYTHONPROFILEIMPORTTIME="1")
    timed("run", "--rm", "--network", "none", "iris:test", "true")
    done = timed("run", "--rm", "--network", "none", "iris:test", "true")
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert not imported & {"asyncio", "httpx", "isal", "msgspec", "pysequoia", "rich", "ssl", "subprocess", "zstandard"}


@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_recorded_training_comes_out_equal_and_another_seed_is_named(shared_carboy: Carboy, iris: Path) -> None:
    done = shared_carboy("run", "--record", "--seed", "3", "--output", "model.joblib", str(iris))
    check_answer(done.stdout)
    run = done.stderr.rpartition("recorded as ")[2].strip()
    again = shared_carboy("rerun", "--check", run)
    assert again.stdout.endswith("equal: 1 output, exit status 0\n")
    other = shared_carboy("rerun", "--check", "--seed", "7", run, expect=1)
    assert "carboy: differs: seed: 3 then, 7 now\n" in other.stderr
    assert "differs: output /app/model.joblib: " in other.stdout
    assert "what else was different: seed: 3 then, 7 now\n" in other.stdout
