"""Eighty assertions about a sandbox, answered from inside by ``probe.py``, in each tier and with either network.

What cannot hold somewhere stands in ``EXCEPTIONS`` with its reason, and is checked not to hold: the table cannot go stale.
"""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sandboxes import Sandboxes

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

PROBE = Path(__file__).with_name("probe.py")
COUNT = 80
NAMESPACES = ("mnt", "pid", "net", "ipc", "uts", "user", "cgroup")

# (tier or "", network or "", assertion): why it does not hold there.
EXCEPTIONS: dict[tuple[str, str, int], str] = {
    ("", "host", 16): "the network is the host's because that was asked for",
    ("", "host", 71): "abstract sockets belong to the network namespace, which is the host's",
    ("", "host", 73): "the interfaces are the host's",
    (
        "",
        "",
        75,
    ): "carboy brings no profile for a security module: seccomp, capabilities and a user namespace stand for it",
    ("root", "", 80): "setgroups is allowed: the container has many groups and needs it to drop them",
    ("subuid", "", 80): "setgroups is allowed: newgidmap gave the right to it with the range of ids",
}


@pytest.fixture(scope="module")
def host_traces() -> Iterator[dict[str, Any]]:
    """Leave traces on the host that a sandbox must not see: shared memory, a message queue, a file, an abstract socket."""
    libc = ctypes.CDLL(None, use_errno=True)
    segment = libc.shmget(0x0CA2B0, 4096, 0o1000 | 0o600)
    canary = Path("/var/tmp") / f"carboy-canary-{os.urandom(4).hex()}"
    canary.write_text("host\n")
    with socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(b"\0carboy-canary-" + os.urandom(4))
        yield {"canary": str(canary), "environment": f"canary-{os.urandom(8).hex()}"}
    canary.unlink()
    libc.shmctl(segment, 0, None)


def make_probe_root(sandboxes: Sandboxes) -> Path:
    """Return a root that borrows the host's /usr, and has a set-user-id program of its own."""
    root = sandboxes.new_root("probe")
    shutil.rmtree(root / "bin")
    for name in ("bin", "sbin", "lib", "lib64"):
        if Path("/", name).is_symlink():
            (root / name).symlink_to(f"usr/{name}")
    (root / "usr").mkdir()
    (root / "etc" / "ld.so.cache").write_bytes(Path("/etc/ld.so.cache").read_bytes())
    shutil.copy("/usr/bin/id", root / "setuid-id")
    shutil.copy(PROBE, root / "probe.py")
    sandboxes.own(root)
    (root / "setuid-id").chmod(0o6755)
    return root


def run_probe(
    sandboxes: Sandboxes, traces: dict[str, Any], *, network: str, **options: Any
) -> dict[int, tuple[bool, str]]:
    if not Path("/bin").is_symlink() or not Path("/usr/bin/python3").exists():
        pytest.fail("the probe needs a machine with a merged /usr and its own Python (Debian 12)")
    facts = {
        **traces,
        # With one id the kernel keeps the person's groups: here the own one, which is shown as 0.
        "groups": ["0"] if sandboxes.tier == "single" else ["0", "2000"],
        "many_ids": sandboxes.tier != "single",
        "namespaces": {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES},
        "numbers": _numbers(sandboxes),
    }
    sandboxes.environ["CANARY"] = traces["environment"]
    result = sandboxes.run(
        "/usr/bin/python3", "-I", "-S", "/probe.py", json.dumps(facts), lower=[make_probe_root(sandboxes)],
        network=network, mounts=[("BindMount", {"source": "/usr", "target": "/usr"})], **options,
    )  # fmt: skip
    assert result.status == 0, result
    *identity, line = result.stdout.splitlines()
    answers = {int(number): (holds, seen) for number, (holds, seen) in json.loads(line).items()}
    # Set-user-id or not: the program ran as who started it.
    assert identity == (["1000"] if sandboxes.tier != "single" else ["0"])
    return answers


def _numbers(sandboxes: Sandboxes) -> dict[str, int]:
    script = "import json, os; from carboy.linux import seccomp as s; print(json.dumps(dict(s.find_numbers(os.uname().machine))))"
    environ = {"PYTHONPATH": str(sandboxes.package)}
    done = subprocess.run([sandboxes.python, "-c", script], env=environ, capture_output=True, check=True)
    found: dict[str, int] = json.loads(done.stdout)
    return found


def excepted(tier: str, network: str) -> dict[int, str]:
    """Return the assertions that cannot hold in a tier with a network, with their reasons."""
    return {n: why for (t, w, n), why in EXCEPTIONS.items() if t in ("", tier) and w in ("", network)}


@pytest.mark.parametrize("network", ["none", "host"])
def test_assertions(sandboxes: Sandboxes, host_traces: dict[str, Any], network: str) -> None:
    answers = run_probe(sandboxes, host_traces, network=network)
    assert sorted(answers) == list(range(1, COUNT + 1))
    expected = excepted(sandboxes.tier, network)
    failed = {n: seen for n, (holds, seen) in answers.items() if not holds}
    assert {n: seen for n, seen in failed.items() if n not in expected} == {}
    assert sorted(failed) == sorted(expected), "an exception holds now: take it out of the table"
