"""FROM a name that is not here: made from an archive that this test makes and signs itself."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alpine import make_alpine
from archives import make_ubuntu, serve

if TYPE_CHECKING:
    from collections.abc import Iterator

    from alpine import ApkArchive
    from archives import DebArchive

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.userns]


@pytest.fixture
def ubuntu(tmp_path: Path) -> DebArchive:
    folder = tmp_path / "ubuntu"
    folder.mkdir()
    return make_ubuntu(folder)


@pytest.fixture
def address(ubuntu: DebArchive) -> Iterator[str]:
    with serve(ubuntu.folder) as url:
        yield url


def configure(carboy: Carboy, text: str) -> Carboy:
    carboy.home.mkdir(parents=True, exist_ok=True)
    carboy.home.chmod(0o700)
    (carboy.home / "config.toml").write_text(text)
    return carboy.using(carboy.home, no_proxy="127.0.0.1")


def build(carboy: Carboy, folder: Path, text: str, *options: str, expect: int = 0) -> tuple[str, str]:
    folder.mkdir(exist_ok=True)
    (folder / "Dockerfile").write_text(text)
    done = carboy("build", "--progress", "plain", *options, str(folder), expect=expect)
    return done.stdout, done.stderr


def test_ubuntu_from_an_archive_with_keys_of_the_config(
    carboy: Carboy, ubuntu: DebArchive, address: str, tmp_path: Path
) -> None:
    runner = configure(
        carboy,
        f'[archives.ubuntu]\nmirror = "{address}"\nkeyring = "{ubuntu.keyring}"\n',
    )
    command = "RUN . /etc/os-release && echo $ID-$VERSION_ID $(cat /etc/base-files.done) > /made"
    text = f'FROM ubuntu:24.04\n{command}\nCMD ["cat", "/made"]\n'
    _, said = build(runner, tmp_path / "context", text, "-t", "made:1")
    assert "ubuntu:24.04 is not in the store and is made here: Ubuntu noble's minimal system" in said
    assert runner("run", "--rm", "made:1").stdout == "ubuntu-24.04 configured\n"
    sources = runner("run", "--rm", "made:1", "cat", "/etc/apt/sources.list.d/ubuntu.sources").stdout
    assert "Suites: noble noble-updates noble-security\nComponents: main universe\n" in sources
    assert "127.0.0.1" not in sources
    assert runner("run", "--rm", "made:1", "stat", "-c", "%N", "/bin").stdout == "'/bin' -> 'usr/bin'\n"
    # What is fetched is remembered: nothing is asked of the archive.
    shutil.rmtree(ubuntu.folder / "dists")
    _, said = build(runner, tmp_path / "context", text, "-t", "made:2")
    assert said.count("CACHED") >= 1
    assert runner("inspect", "-f", "{{.Id}}", "made:1").stdout == runner("inspect", "-f", "{{.Id}}", "made:2").stdout
    # A rebuild is held to the state of the archive that the image is of, which nobody else has any more.
    assert json.loads(runner("verify", "--json", "made:1").stdout)["level"] == "identical"


def test_a_name_of_the_config_with_packages_and_settings(
    carboy: Carboy, ubuntu: DebArchive, address: str, tmp_path: Path
) -> None:
    runner = configure(
        carboy,
        f'[bases."team/tools:24.*"]\nfrom = "ubuntu:noble"\nmirror = "{address}"\nkeyring = "{ubuntu.keyring}"\n'
        'packages = ["tool"]\nenv = { TEAM = "data" }\nentrypoint = ["tool"]\nworkdir = "/srv"\n',
    )
    done = runner("run", "--rm", "team/tools:24.10")
    assert done.stdout == "tool\n"
    config = json.loads(runner("inspect", "team/tools:24.10").stdout)[0]["Config"]
    assert "TEAM=data" in config["Env"]
    assert config["WorkingDir"] == "/srv"
    said = runner("run", "--rm", "team/tools:23", expect=125).stderr
    assert "there is no image team/tools:23" in said


def test_bootstrap_takes_other_distributions(carboy: Carboy, ubuntu: DebArchive, address: str) -> None:
    runner = configure(carboy, f'[archives.ubuntu]\nkeyring = "{ubuntu.keyring}"\n')
    said = runner("bootstrap", "ubuntu:24.04", "--mirror", address, "--include", "tool", "-t", "own:1").stdout
    assert said.startswith("own:1  sha256:")
    assert runner("run", "--rm", "own:1", "tool").stdout == "tool\n"


def test_keys_that_are_not_there_and_keys_of_others(
    carboy: Carboy, ubuntu: DebArchive, address: str, tmp_path: Path
) -> None:
    from pysequoia import Tsk

    text = "FROM ubuntu:24.04\n"
    runner = configure(carboy, f'[archives.ubuntu]\nmirror = "{address}"\n')
    if not Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg").exists():
        _, said = build(runner, tmp_path / "context", text, expect=1)
        assert "the keys that Ubuntu's archive is signed with are not known here" in said
        assert "ubuntu-keyring" in said
    other = tmp_path / "other.gpg"
    other.write_bytes(bytes(Tsk.generate("somebody <x@example.org>").extract_certificate()))
    runner = configure(carboy, f'[archives.ubuntu]\nmirror = "{address}"\nkeyring = "{other}"\n')
    _, said = build(runner, tmp_path / "context", text, expect=1)
    assert "signature cannot be trusted" in said
    runner = configure(carboy, f'[archives.ubuntu]\nmirror = "{address}"\nkeyring = "{ubuntu.keyring}"\n')
    ubuntu.publish(Codename="jammy", Suite="jammy")
    _, said = build(runner, tmp_path / "context", text, expect=1)
    assert "the archive serves another suite than noble" in said


def test_versions_that_cannot_be_had_name_those_that_can(carboy: Carboy, tmp_path: Path) -> None:
    _, said = build(carboy, tmp_path / "context", "FROM rocker/r-ver:4.3.1\n", expect=1)
    assert "rocker/r-ver:4.0.4" in said
    assert "rocker/r-ver:4.2.2" in said
    assert "debian" not in said
    _, said = build(carboy, tmp_path / "context", "FROM python:3.12-slim\n", expect=1)
    assert "python:3.11" in said
    configure(carboy, '[bases."x:1"]\nfrom = "suse:15"\n')
    _, said = build(carboy, tmp_path / "context", "FROM python:3.11\n", expect=125)
    assert "from does not name a distribution" in said


def test_a_change_of_the_table_counts_at_once(carboy: Carboy, ubuntu: DebArchive, address: str, tmp_path: Path) -> None:
    """A build that was done before is not told again when the names mean something else now."""
    table = f'[bases."own:1"]\nfrom = "ubuntu:noble"\nmirror = "{address}"\nkeyring = "{ubuntu.keyring}"\n'
    text = "FROM own:1\nCOPY Dockerfile /\n"
    runner = configure(carboy, table + 'env = { A = "1" }\n')
    for _ in range(2):
        build(runner, tmp_path / "context", text, "-t", "made:1")
    configure(carboy, table + 'env = { A = "2" }\n')
    build(runner, tmp_path / "context", text, "-t", "made:1")
    assert "A=2" in runner("inspect", "made:1").stdout


@pytest.fixture
def alpine(tmp_path: Path) -> ApkArchive:
    folder = tmp_path / "alpine"
    folder.mkdir()
    return make_alpine(folder)


@pytest.fixture
def alpine_address(alpine: ApkArchive) -> Iterator[str]:
    with serve(alpine.folder) as url:
        yield url


def test_alpine_from_a_signed_index(carboy: Carboy, alpine: ApkArchive, alpine_address: str, tmp_path: Path) -> None:
    runner = configure(carboy, f'[archives.alpine]\nmirror = "{alpine_address}"\nkeyring = "{alpine.keys}"\n')
    text = "FROM alpine:3.20\nRUN . /etc/os-release && echo $ID-$VERSION_ID $(cat /triggered) > /made\nCMD cat /made\n"
    _, said = build(runner, tmp_path / "context", text, "-t", "made:1")
    assert "alpine:3.20 is not in the store and is made here: Alpine 3.20's minimal system" in said
    assert runner("run", "--rm", "made:1").stdout == "alpine-3.20.3 /bin /usr/bin\n"
    settings = runner("run", "--rm", "made:1", "cat", "/etc/apk/repositories", "/etc/apk/world", "/etc/apk/arch").stdout
    assert settings.splitlines() == [
        "https://dl-cdn.alpinelinux.org/alpine/v3.20/main",
        "https://dl-cdn.alpinelinux.org/alpine/v3.20/community",
        "alpine-baselayout",
        "alpine-keys",
        "apk-tools",
        "busybox",
        "libc-utils",
        "x86_64",
    ]
    shutil.rmtree(alpine.folder)
    _, said = build(runner, tmp_path / "context", text, "-t", "made:2")
    assert runner("inspect", "-f", "{{.Id}}", "made:1").stdout == runner("inspect", "-f", "{{.Id}}", "made:2").stdout


def test_an_alpine_base_with_packages_in_each_tier(
    tier_carboy: Carboy, alpine: ApkArchive, alpine_address: str
) -> None:
    """Who owns what is the same in all, as far as the tier has other ids to show."""
    home = tier_carboy.home.with_name(f"{tier_carboy.home.name}-alpine")
    tier_carboy = tier_carboy.using(home, no_proxy="127.0.0.1")
    try:
        configure_tier(tier_carboy, alpine, alpine_address)
        said = tier_carboy("bootstrap", "alpine:3.20", "--include", "tool>=2", "-t", "own:1").stdout
        assert "10 packages" in said
        run = ("run", "--rm", "own:1")
        assert tier_carboy(*run, "tool").stdout == "tool\n"
        owner = "0:0" if tier_carboy.person.tier == "single" else "150:150"
        assert tier_carboy(*run, "stat", "-c", "%u:%g %a", "/var/lib/tool").stdout == f"{owner} 750\n"
        assert "libc-docs" in tier_carboy(*run, "cat", "/lib/apk/db/installed").stdout
    finally:
        subprocess.run(["rm", "-rf", str(home)], check=False)


def configure_tier(carboy: Carboy, alpine: ApkArchive, address: str) -> None:
    for path in (alpine.keys, *alpine.keys.iterdir()):
        path.chmod(0o755)
    keys = carboy.home.with_name("alpine-keys")
    if keys.exists():
        shutil.rmtree(keys)
    shutil.copytree(alpine.keys, keys)
    carboy.home.mkdir(mode=0o700, parents=True)
    config = carboy.home / "config.toml"
    config.write_text(f'[archives.alpine]\nmirror = "{address}"\nkeyring = "{keys}"\n')
    for path in (carboy.home, config, keys, *keys.iterdir()):
        shutil.chown(path, carboy.person.uid, carboy.person.gid)
