"""What goes wrong says what went wrong: one clear error, the right exit status, a store that is whole."""

from __future__ import annotations

import functools
import http.server
import os
import shutil
import sys
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import CompletedProcess

    from tests.conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.userns]


def check_error(done: CompletedProcess[str], *words: str, statuses: tuple[int, ...] = (1, 125)) -> None:
    assert done.returncode in statuses, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "error: " in done.stderr
    for word in words:
        assert word.lower() in done.stderr.lower(), done.stderr


def check_store(carboy: Carboy, leftovers: Leftovers) -> None:
    assert leftovers.find() == []
    carboy("system", "check")
    assert list(carboy.temporary.iterdir()) == []


@pytest.mark.parametrize("verb", ["run", "build", "plan"])
def test_no_such_folder(carboy: Carboy, verb: str) -> None:
    check_error(carboy(verb, "./nowhere", expect=None), "nowhere", statuses=(1, 2, 125))


@pytest.mark.parametrize("verb", ["run", "build", "plan"])
def test_nothing_runnable_lists_what_was_found(carboy: Carboy, verb: str, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "readme.txt").write_text("nothing to see\n")
    done = carboy(verb, str(folder), expect=None)
    if verb == "run":
        check_error(done, "readme.txt")


def test_two_scripts_and_no_word_which(carboy: Carboy, tmp_path: Path) -> None:
    folder = tmp_path / "two"
    folder.mkdir()
    for name in ("alpha.py", "beta.py"):
        (folder / name).write_text("print(1)\n")
    check_error(carboy("run", str(folder), expect=None), "alpha.py", "beta.py")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("[run\n", id="no-toml"),
        pytest.param("[run]\ncommand = 7\n", id="no-command"),
        pytest.param("[run]\ncommand = []\n", id="empty-command"),
    ],
)
def test_carboy_toml_that_says_nothing(carboy: Carboy, tmp_path: Path, text: str) -> None:
    (tmp_path / "carboy.toml").write_text(text)
    (tmp_path / "main.py").write_text("print(1)\n")
    check_error(carboy("plan", str(tmp_path), expect=None), "carboy.toml", statuses=(1, 2))


@pytest.mark.parametrize(
    "arguments",
    [["--no-such-option"], ["frobnicate"], ["run"], ["run", "--restart"], ["rmi"], ["build"], []],
)
def test_wrong_usage_ends_with_2(carboy: Carboy, arguments: list[str]) -> None:
    carboy(*arguments, expect=2)


def test_unknown_image(carboy: Carboy) -> None:
    check_error(carboy("run", "no-such-image:1", expect=None), "no-such-image", statuses=(125,))
    check_error(carboy("inspect", "no-such-image:1", expect=None), "no-such-image", statuses=(1,))
    check_error(carboy("rmi", "no-such-image:1", expect=None), "no-such-image", statuses=(1,))


@pytest.mark.network
def test_unresolvable_requirement_shows_why(shared_carboy: Carboy, iris: Path, leftovers: Leftovers) -> None:
    (iris / "requirements.txt").write_text("numpy==0.0.0.1\n")
    done = shared_carboy("run", str(iris), expect=None)
    check_error(done, "numpy==0.0.0.1", "no version")
    check_store(shared_carboy, leftovers)


@pytest.fixture
def unsigned_mirror(tmp_path: Path) -> Iterator[str]:
    """Serve an archive whose InRelease nobody has signed."""
    place = tmp_path / "mirror"
    release = place / "debian" / "dists" / "bookworm" / "InRelease"
    release.parent.mkdir(parents=True)
    release.write_text(
        "-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nOrigin: Debian\nSuite: stable\nCodename: bookworm\n"
        "Date: Sat, 17 May 2025 09:00:00 UTC\nComponents: main\nArchitectures: amd64\n"
        "-----BEGIN PGP SIGNATURE-----\n\nbm90aGluZw==\n-----END PGP SIGNATURE-----\n"
    )
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(place))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/debian"
        server.shutdown()
        thread.join()


def test_bad_archive_signature(carboy: Carboy, unsigned_mirror: str, leftovers: Leftovers) -> None:
    done = carboy("bootstrap", "debian:bookworm", "--mirror", unsigned_mirror, expect=None)
    check_error(done, "sign")
    check_store(carboy, leftovers)


FULL = """
import os, subprocess, sys
home, size, fill, *command = sys.argv[1:]
subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", home], check=True)
if fill != "-":
    subprocess.run(["cp", "-a", f"{fill}/.", home], check=True)
    with open(f"{home}/ballast", "wb", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(65536))
        except OSError:
            pass
done = subprocess.run(command, stdin=subprocess.DEVNULL)
subprocess.run(["rm", "-f", f"{home}/ballast"])
check = subprocess.run([*command[:int(os.environ["PROGRAM_WORDS"])], "system", "check"], stdout=sys.stderr)
sys.exit(done.returncode if check.returncode == 0 else 99)
"""


def run_on_full_disk(carboy: Carboy, *arguments: str, size: str, fill: str = "-") -> CompletedProcess[str]:
    """Run carboy with a home on a small disk of its own, then check the store; 99 means that the store is damaged."""
    carboy.home.mkdir(mode=0o700, exist_ok=True)
    prefix = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        sys.executable,
        "-c",
        FULL,
        str(carboy.home),
        size,
        fill,
    ]
    runner = carboy.using(carboy.home, PROGRAM_WORDS=str(len(carboy.program)))
    return runner(*arguments, prefix=prefix, expect=None)


@pytest.mark.root
@pytest.mark.network
@pytest.mark.skipif(os.getuid() != 0, reason="a disk of its own can be mounted by root only")
@pytest.mark.parametrize("size", ["8m", *(pytest.param(size, marks=pytest.mark.long) for size in ("60m", "200m"))])
def test_disk_fills_up_during_bootstrap(carboy: Carboy, size: str, leftovers: Leftovers) -> None:
    done = run_on_full_disk(carboy, "bootstrap", "debian:bookworm", size=size)
    check_error(done, "full")
    assert leftovers.find() == []


@pytest.mark.root
@pytest.mark.network
@pytest.mark.skipif(os.getuid() != 0, reason="a disk of its own can be mounted by root only")
@pytest.mark.parametrize("verb", ["build", "run"])
def test_disk_fills_up_during_build_or_run(
    carboy: Carboy, shared_carboy: Carboy, iris: Path, verb: str, leftovers: Leftovers, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(shared_carboy.home, copy, symlinks=True, ignore=shutil.ignore_patterns("cache", "layers"))
    (iris / "note.txt").write_text("something new\n" * 10_000)
    done = run_on_full_disk(carboy, verb, str(iris), size="3000m", fill=str(copy))
    check_error(done, "full")
    assert leftovers.find() == []
