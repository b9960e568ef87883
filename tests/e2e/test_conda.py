"""Folders with conda's files, built from a channel that is made here, with Debian's Python in it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conda_channel import SUBDIR, CondaChannel, File, add_python, add_samples, find_debian_python
from offline import without_network

if TYPE_CHECKING:
    from tests.conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.network, pytest.mark.userns]

PROJECTS = Path(__file__).resolve().parents[1] / "projects"
# Where the names and addresses that the sample folders have lead to.
NAMES = ("sample", "https://conda.example.org/sample")

CELL = "import sys, answers, ipykernel\nprint(sys.prefix, answers.ANSWER, ipykernel.__file__[:10])"


@pytest.fixture(scope="module")
def channel(run_base: Path, worker_id: str) -> CondaChannel:
    """Return a channel with a Python and small packages, where every user can read it."""
    if find_debian_python() is None:
        pytest.skip("the channel's Python is made of Debian 12's")
    found = CondaChannel(run_base / f"conda-channel-{worker_id}")
    add_python(found)
    add_samples(found)
    found.write()
    return found


def prepare(carboy: Carboy, channel: CondaChannel, source: Path, target: Path) -> Path:
    """Return a copy of a folder with the channel's hashes in its locks; the home knows the channel then."""
    carboy.home.mkdir(exist_ok=True, mode=0o700)
    lines = [f'"{name}" = "{channel.address}"\n' for name in NAMES]
    (carboy.home / "config.toml").write_text("[conda]\n" + "".join(lines))
    if source.is_dir():
        shutil.copytree(source, target)
    records = {record["name"]: record for found in channel.records.values() for record in found.values()}
    for name in ("conda-lock.yml", "pixi.lock"):
        if (target / name).exists():
            text = (target / name).read_text().replace("linux-64", SUBDIR)
            for package, record in records.items():
                text = text.replace(f"SHA256-{package}", record["sha256"])
            (target / name).write_text(text)
    for path in (carboy.home, carboy.home / "config.toml", target, *target.rglob("*")):
        os.chown(path, carboy.person.uid, carboy.person.gid)
    return target


def layers_of(carboy: Carboy, name: str) -> list[str]:
    return [layer["Digest"] for layer in json.loads(carboy("inspect", name).stdout)[0]["Layers"]]


@pytest.mark.parametrize("name", ["conda", "conda-lock", "pixi"])
def test_a_folder_runs(folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path, name: str) -> None:
    folder = prepare(folders_carboy, channel, PROJECTS / name, tmp_path / name)
    done = folders_carboy("run", "--rm", "--network", "none", str(folder))
    assert "answer  42" in done.stdout


def test_a_folder_comes_along_in_a_bundle(folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path) -> None:
    folder = prepare(folders_carboy, channel, PROJECTS / "conda", tmp_path / "conda")
    text = (folder / "environment.yml").read_text()
    (folder / "environment.yml").write_text(text.replace("variables:", "  - pip:\n    - tabulate==0.9.0\nvariables:"))
    bundle = str(tmp_path / "bundle.tar")
    said = folders_carboy("fetch", str(folder), "-o", bundle).stdout
    assert "conda: 3 packages\nPython: 1 package\n" in said
    digest = folders_carboy("build", "-q", str(folder)).stdout
    assert without_network(folders_carboy, "build", "-q", "--offline", str(folder)).stdout == digest
    # Nobody there knows the channel.
    empty = folders_carboy.using(tmp_path / "home")
    error = without_network(empty, "build", "--offline", str(folder), expect=1).stderr
    assert "install 2 packages of conda's" in error
    command = ("build", "-q", "--offline", "--bundle", bundle, str(folder))
    assert without_network(empty, *command, "-t", "offline:conda").stdout == digest
    code = "import answers, tabulate; print('answer', answers.ANSWER)"
    assert "answer 42" in without_network(empty, "run", "--rm", "offline:conda", "python", "-c", code).stdout
    (folder / "environment.yml").write_text(text.replace("answers >=1", "answers >=1.1"))
    assert "the bundle has no packages of conda's" in without_network(empty, *command, expect=1).stderr


def test_a_notebook_has_conda_s_python_and_is_executed_of_a_bundle(
    folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path
) -> None:
    folder = prepare(folders_carboy, channel, PROJECTS / "conda", tmp_path / "conda")
    for name, language in (("a", "python"), ("r", "R")):
        code = {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": CELL}
        spec = {"name": "ir" if language == "R" else "python3", "display_name": "x", "language": language}
        value = {"cells": [code], "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 4}
        (folder / f"{name}.ipynb").write_text(json.dumps(value))
    done = folders_carboy("run", "--record", str(folder), "a.ipynb", timeout_s=400)
    assert done.stdout == "/opt/conda 42 /opt/tools\n"
    assert (folder / "a.executed.ipynb").exists()
    error = folders_carboy("run", str(folder), "r.ipynb", expect=1).stderr
    assert "wants the kernel ir, which the environment does not have; there is python3" in error
    bundle = str(tmp_path / "bundle.tar")
    folders_carboy("fetch", "--notebook", str(folder), "-o", bundle, timeout_s=400)
    empty = folders_carboy.using(tmp_path / "home")
    assert (
        "install 2 packages of conda's"
        in without_network(empty, "run", "--offline", str(folder), "a.ipynb", expect=1).stderr
    )
    command = ("run", "--network", "none", "--offline", "--bundle", bundle, str(folder), "a.ipynb")
    assert without_network(empty, *command).stdout == done.stdout


def test_a_folder_runs_in_every_tier(tier_carboy: Carboy, channel: CondaChannel) -> None:
    folder = tier_carboy.temporary / "conda-lock"
    prepare(tier_carboy, channel, PROJECTS / "conda-lock", folder)
    try:
        assert "answer  42" in tier_carboy("run", "--rm", "--network", "none", str(folder)).stdout
    finally:
        shutil.rmtree(folder)


def test_the_same_packages_are_the_same_layers(folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path) -> None:
    images = {}
    for name in ("conda", "conda-lock", "pixi"):
        folder = prepare(folders_carboy, channel, PROJECTS / name, tmp_path / name)
        folders_carboy("build", str(folder), "-t", f"{name}:conda")
        images[name] = layers_of(folders_carboy, f"{name}:conda")
    assert images["conda"][:-1] == images["conda-lock"][:-1]
    assert images["pixi"][: len(images["conda"]) - 1] == images["conda"][:-1]
    other = folders_carboy.using(tmp_path / "other")
    folder = prepare(other, channel, PROJECTS / "conda", tmp_path / "again")
    other("build", str(folder), "-t", "again:conda")
    assert layers_of(other, "again:conda")[:-1] == images["conda"][:-1]


def test_one_package_more_is_one_layer_more(folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path) -> None:
    large = CondaChannel(tmp_path / "channel")
    large.add("large", "1.0", {"share/large": File(os.urandom(2_000_000))})
    large.write()
    folder = prepare(folders_carboy, channel, PROJECTS / "conda", tmp_path / "folder")
    folders_carboy("build", str(folder), "-t", "more:1")
    before = layers_of(folders_carboy, "more:1")
    text = (folder / "environment.yml").read_text().replace("  - python", "  - large\n  - python")
    (folder / "environment.yml").write_text(text.replace("  - sample\n", f"  - sample\n  - {large.address}\n"))
    done = folders_carboy("build", "--progress", "plain", str(folder), "-t", "more:2")
    assert "(made 1 layer of 4: large 1.0)" in done.stderr
    assert len(set(layers_of(folders_carboy, "more:2")[:-1]) - set(before)) == 1


def test_what_was_chosen_is_held_in_a_rebuild(folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path) -> None:
    """Versions without a lock are those of the image, whatever its channel has by now; the image says what is in it."""
    own = CondaChannel(tmp_path / "channel")
    own.add("tool", "1.0", {"bin/tool": File(b"#!/bin/sh\necho one\n", 0o755)}, suffix=".tar.bz2")
    own.write()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "environment.yml").write_text(f"channels: [{own.address}]\ndependencies: [tool]\n")
    (folder / "carboy.toml").write_text('[run]\ncommand = ["tool"]\n')
    folders_carboy("build", str(folder), "-t", "tool:held")
    own.add("tool", "2.0", {"bin/tool": File(b"#!/bin/sh\necho two\n", 0o755)})
    own.write()
    found = json.loads(folders_carboy("verify", "--json", "tool:held", timeout_s=250).stdout)
    assert found["level"] in {"identical", "archive"}, found
    bom = json.loads(folders_carboy("sbom", "--format", "cyclonedx", "tool:held").stdout)
    purls = [one["purl"] for one in bom["components"] if one.get("purl", "").startswith("pkg:conda/")]
    assert purls == [f"pkg:conda/tool@1.0?build=0&subdir={SUBDIR}"]
    folders_carboy("rmi", "tool:held")


def test_a_lock_is_kept_and_drift_refused(folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path) -> None:
    own = CondaChannel(tmp_path / "channel")
    own.add("tool", "1.0", {"bin/tool": File(b"#!/bin/sh\necho one\n", 0o755)})
    own.write()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "environment.yml").write_text(f"channels: [{own.address}]\ndependencies: [tool]\n")
    (folder / "carboy.toml").write_text('[run]\ncommand = ["tool"]\n')
    assert "1 packages of conda's" in folders_carboy("lock", str(folder)).stdout
    text = (folder / "carboy.lock").read_text()
    assert f'"tool 1.0 {own.address}/{SUBDIR}/tool-1.0-0.conda sha256:' in text
    own.add("tool", "2.0", {"bin/tool": File(b"#!/bin/sh\necho two\n", 0o755)})
    own.write()
    assert "unchanged" in folders_carboy("lock", str(folder)).stdout
    assert folders_carboy("outdated", "--json", str(folder)).stdout.count('"2.0"') == 1
    folders_carboy("build", "--locked", str(folder), "-t", "tool:1")
    assert folders_carboy("run", "--rm", "--network", "none", "tool:1").stdout == "one\n"
    assert "tool 1.0 -> 2.0" in folders_carboy("lock", "--upgrade", "tool", str(folder)).stdout
    assert folders_carboy("run", "--rm", "--network", "none", str(folder)).stdout == "two\n"
    (folder / "environment.yml").write_text(f"channels: [{own.address}]\ndependencies: [tool<2]\n")
    assert "out of date" in folders_carboy("build", "--locked", str(folder), expect=1).stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("dependencies: [nothing-of-that-name]", "No candidates were found for nothing-of-that-name"),
        ("dependencies: [question]", "No candidates were found for question"),
        ("channels: [defaults]\ndependencies: [questions]", "asks organisations for a licence"),
        ("channels: ['file:///nowhere']\ndependencies: [questions]", "there is no channel file:///nowhere"),
        ("channels: [sample]\ndependencies: [questions]", "conda's packages bring none"),
        ("dependencies: [questions", "environment.yml cannot be read"),
    ],
)
def test_bad_input(folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path, text: str, message: str) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "main.py").write_text("")
    (folder / "environment.yml").write_text(text if "channels" in text else f"channels: [sample]\n{text}\n")
    prepare(folders_carboy, channel, Path("/nothing"), folder)
    done = folders_carboy("build", str(folder), expect=1)
    assert message in done.stderr
    assert "hint: " in done.stderr


def test_a_changed_package_and_a_script_are_refused(
    folders_carboy: Carboy, channel: CondaChannel, tmp_path: Path
) -> None:
    own = CondaChannel(tmp_path / "channel")
    record = own.add("hook", "1.0", {"bin/.hook-post-link.sh": File(b"#!/bin/sh\ntouch /evil\n", 0o755)})
    own.write()
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "environment.yml").write_text(f"channels: [{own.address}]\ndependencies: [hook]\n")
    (folder / "carboy.toml").write_text('[run]\ncommand = ["ls", "/opt/conda/bin/.hook-post-link.sh"]\n')
    error = folders_carboy("build", str(folder), expect=1).stderr
    assert "hook wants to run a script" in error
    settings = (folder / "carboy.toml").read_text() + '[conda]\nskip-scripts = ["hook"]\n'
    (folder / "carboy.toml").write_text(settings)
    assert "post-link" in folders_carboy("run", "--rm", "--network", "none", str(folder)).stdout
    package = own.root / SUBDIR / record["file"]
    own.add("other", "1.0", {"share/other": File(b"other")})
    own.write()
    (own.root / SUBDIR / "other-1.0-0.conda").write_bytes(package.read_bytes())
    (folder / "environment.yml").write_text(f"channels: [{own.address}]\ndependencies: [hook, other]\n")
    error = folders_carboy("build", str(folder), expect=1).stderr
    assert "its hash is another one" in error
    assert not list((folders_carboy.home / "cache" / "conda").rglob("*.part"))
