"""README's first command on a new Debian 12 machine that has Python 3.11 and nothing else, as root and as a user."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

CHECKOUT = Path(__file__).resolve().parents[2]
SOURCES = ("/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list")
# A new root by pivot_root, because the kernel refuses user namespaces to a process that is in a mere chroot.
ENTER = """
set -e
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount --rbind /dev dev
mount --rbind /sys sys
mount -t tmpfs tmpfs run
mkdir -p old
pivot_root . old
shift
cd /
python3 -c 'import ctypes; ctypes.CDLL(None).umount2(b"/old", 2)'  # such a machine has no umount: MNT_DETACH
exec "$@"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.root,
    pytest.mark.network,
    pytest.mark.userns,
    pytest.mark.timeout(900),
    pytest.mark.xdist_group("new-machine"),
]


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return the root file system of the machine, with a copy of this checkout in /home/ada/carboy."""
    if os.getuid() != 0:
        pytest.skip("a root file system of Debian's own making needs root")
    if shutil.which("mmdebstrap") is None:
        pytest.skip("mmdebstrap is not installed (Debian: mmdebstrap)")
    place = tmp_path_factory.mktemp("machine") / "root"
    sources = [path for path in SOURCES if Path(path).exists()][:1]
    command = ["mmdebstrap", "--quiet", "--mode=root", "--variant=apt", "--include=python3", "bookworm", str(place)]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False, timeout=400)
    assert done.returncode == 0, done.stderr
    assert not (place / "usr/lib/python3.11/ensurepip").exists()
    for path in ("/etc/resolv.conf", "/etc/hosts", os.environ.get("SSL_CERT_FILE", "")):
        if path and Path(path).exists():
            copy = place / path.lstrip("/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.unlink(missing_ok=True)
            copy.write_bytes(Path(path).read_bytes())
    subprocess.run(["chroot", str(place), "useradd", "--create-home", "ada"], check=True, capture_output=True)
    checkout = place / "home" / "ada" / "carboy"
    for name in ("src", "scripts", "requirements", "examples"):
        shutil.copytree(CHECKOUT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(CHECKOUT / name, checkout / name)
    subprocess.run(["chroot", str(place), "chown", "-R", "ada:ada", "/home/ada"], check=True, capture_output=True)
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.mark.parametrize("person", ["ada", "root"])
def test_first_command_of_readme(machine: Path, person: str) -> None:
    environ = {key: os.environ[key] for key in ("SSL_CERT_FILE", "HTTPS_PROXY", "HTTP_PROXY") if key in os.environ}
    environ |= {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
    environ["HOME"] = "/root" if person == "root" else f"/home/{person}"
    program = "cd /home/ada/carboy && exec python3 scripts/try.py run examples/iris"
    become = [] if person == "root" else ["setpriv", "--reuid", person, "--regid", person, "--clear-groups"]
    enter = ["unshare", "--mount", "--propagation", "private", "/bin/sh", "-c", ENTER, "enter", str(machine)]
    done = subprocess.run(
        [*enter, *become, "/bin/sh", "-c", program],
        env=environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=800,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert re.search("accuracy", done.stdout, re.IGNORECASE), done.stdout
    assert re.search("predict", done.stdout, re.IGNORECASE), done.stdout
