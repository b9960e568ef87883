"""The programs that carboy is measured against, each with storage of its own in a temporary folder."""

from __future__ import annotations

import glob
import os
import resource
import shutil
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

IMAGE = "localhost/peer:1"
GROUPS = "/peer-of-a-test"


class PeerError(Exception):
    """The peer is not installed or does not work here; the text says which."""


def _call(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, stdin=subprocess.DEVNULL)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise PeerError(f"{os.path.basename(command[0])} {command[-2]}: {last}")


@contextmanager
def open_podman(folder: Path, rootfs_tar: Path) -> Iterator[list[str]]:
    """Give the command line that starts a container of the root file system with podman."""
    program = shutil.which("podman")
    if program is None:
        raise PeerError("podman is not installed")
    storage = ["--root", f"{folder}/storage", "--runroot", f"{folder}/run", "--cgroup-manager", "cgroupfs"]
    base = [program, *storage, "--storage-driver", "overlay"]
    try:
        _call(*base, "import", "--quiet", str(rootfs_tar), IMAGE)
        # Its own limits are above this machine's, where CAP_SYS_RESOURCE may be missing.
        files = min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 1 << 20)
        limits = ["--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=1000:1000"]
        rest = ["run", "--rm", *limits, "--network", "none", IMAGE, "true"]
        start = [*base, *rest]
        try:
            _call(*start)
        except PeerError:  # crun refuses some machines with both versions of control groups; runc does not
            start = [*base, "--runtime", "runc", *rest]
            _call(*start)
        yield start
    finally:
        subprocess.run([*base, "system", "reset", "--force"], capture_output=True, check=False)
        subprocess.run(["umount", f"{folder}/storage/overlay"], capture_output=True, check=False)


@dataclass(frozen=True, slots=True)
class Docker:
    """A daemon that was started for the benchmark: the words that reach it, and the image that it has."""

    client: list[str]
    image: str


@contextmanager
def open_docker(folder: Path, rootfs_tar: Path) -> Iterator[list[str]]:
    """Give the command line that starts a container of the root file system with docker, its daemon started for it."""
    with open_dockerd(folder, rootfs_tar, bridge=False) as docker:
        yield [*docker.client, "run", "--rm", "--network", "none", docker.image, "true"]


@contextmanager
def open_dockerd(folder: Path, rootfs_tar: Path, *, bridge: bool) -> Iterator[Docker]:
    """Start a daemon, with its usual bridge or without any network, and give it the root file system as an image.

    What it mounts is in a mount namespace of its own, and its control groups below one that goes with it: whoever works
    beside it sees neither.
    """
    daemon = shutil.which("dockerd", path="/usr/sbin:/usr/bin:/usr/local/bin:" + os.environ.get("PATH", ""))
    if daemon is None:
        raise PeerError("dockerd is not installed (Debian: docker.io)")
    if os.getuid() != 0:
        raise PeerError("dockerd can be started by root only")
    beside = shutil.which("docker", path="/usr/bin")  # the client of the same version, where there are several
    client = [beside or shutil.which("docker") or "docker", "--host", f"unix://{folder}/docker.sock"]
    for driver in ("overlay2", "vfs"):
        process = _start_daemon(daemon, folder / driver, client[2], driver, bridge=bridge)
        try:
            _wait_for_daemon(process, client)
            _call(*client, "import", str(rootfs_tar), IMAGE)
            _call(*client, "run", "--rm", "--network", "bridge" if bridge else "none", IMAGE, "true")
        except PeerError:
            _stop(process)
            _remove_groups(process.pid)
            if driver == "vfs":
                raise
            continue
        try:
            yield Docker(client, IMAGE)
        finally:
            running = subprocess.run([*client, "ps", "-aq"], capture_output=True, text=True, check=False).stdout.split()
            if running:
                subprocess.run([*client, "rm", "-f", *running], capture_output=True, check=False)
            _stop(process)
            _remove_groups(process.pid)
        return


def _start_daemon(daemon: str, folder: Path, address: str, driver: str, *, bridge: bool) -> subprocess.Popen[bytes]:
    folder.mkdir(parents=True)
    places = ["--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec", "--pidfile", f"{folder}/pid"]
    network = [] if bridge else ["--bridge=none", "--iptables=false", "--ip6tables=false"]
    daemon_words = [
        daemon,
        "--host",
        address,
        "--exec-opt",
        "native.cgroupdriver=cgroupfs",
        *places,
        *network,
        "--storage-driver",
        driver,
    ]
    # The shell's process becomes unshare's and then the daemon's: its number is the name of the group.
    start = f'exec unshare --mount --propagation private "$@" --cgroup-parent "{GROUPS}/$$"'
    with open(f"{folder}/log", "wb") as log:
        return subprocess.Popen(
            ["/bin/sh", "-c", start, "sh", *daemon_words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )


def _wait_for_daemon(process: subprocess.Popen[bytes], client: list[str]) -> None:
    end = time.monotonic() + 30
    while time.monotonic() < end and process.poll() is None:
        if subprocess.run([*client, "version"], capture_output=True, check=False).returncode == 0:
            return
        time.sleep(0.1)
    raise PeerError("dockerd does not start here")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _remove_groups(pid: int) -> None:
    """Remove the control groups of the daemon that was this process, of every hierarchy."""
    for parent in [*glob.glob(f"/sys/fs/cgroup{GROUPS}"), *glob.glob(f"/sys/fs/cgroup/*{GROUPS}")]:
        for folder, _, _ in os.walk(f"{parent}/{pid}", topdown=False):
            with suppress(OSError):  # a process that is still going: the group is empty, and stays
                os.rmdir(folder)
        with suppress(OSError):  # another daemon's is in it
            os.rmdir(parent)


@contextmanager
def open_mmdebstrap() -> Iterator[list[str]]:
    """Give the command line (the target is still missing) that makes Debian's minbase from this machine's mirror."""
    program = shutil.which("mmdebstrap")
    if program is None:
        raise PeerError("mmdebstrap is not installed")
    yield [program, "--quiet", "--variant=minbase", "bookworm"]


def find_apt_sources() -> list[str]:
    """Return the files with this machine's Debian archives, so that both sides ask the same mirror."""
    places = ["/etc/apt/sources.list.d/debian.sources", "/etc/apt/sources.list"]
    return [path for path in places if os.path.exists(path) and os.path.getsize(path)][:1]
