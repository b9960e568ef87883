"""Kept containers: exec, a hundred of them at rest, published ports and private networks, against docker."""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import socket
import statistics
import struct
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import peers
from bench import BASE, Bench, export_rootfs, in_turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NET_IMAGE = "bench-net:1"
PORT = 5201
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
REST_S = 10


def measure_containers(bench: Bench) -> None:
    """Measure the whole part; what needs root or docker is left out with a note where that is missing."""
    bench.carboy("bootstrap", BASE)
    bench.carboy("bootstrap", BASE, "--include", "iperf3", "-t", NET_IMAGE)
    with ExitStack() as stack:
        stack.callback(remove_all, bench)
        docker: peers.Docker | None = None
        try:
            if os.getuid() != 0:
                raise peers.PeerError("a network of one's own needs root")
            stack.enter_context(own_network())
            place = bench.folder / "docker-bridge"
            place.mkdir()
            docker = stack.enter_context(peers.open_dockerd(place, export_rootfs(bench, NET_IMAGE), bridge=True))
        except peers.PeerError as error:
            bench.notes.append(f"containers are not measured against docker: {error}")
        if docker is not None:
            measure_private(bench, docker)
            measure_ports(bench, docker)
        measure_exec(bench, docker)
        remove_all(bench)
        measure_hundred(bench)


def measure_private(bench: Bench, docker: peers.Docker) -> None:
    """Measure a start on a private network against one on docker's bridge."""
    ours, theirs = in_turns(
        5 if bench.quick else 20,
        [*bench.program, "run", "--rm", "--network", "private", NET_IMAGE, "true"],
        [*docker.client, "run", "--rm", docker.image, "true"],
        bench=bench,
    )
    bench.compare("start on a private network, against docker's bridge", ours, theirs, peer="docker", target=0.35)


def measure_exec(bench: Bench, docker: peers.Docker | None) -> None:
    """Measure one more process in a running container."""
    bench.carboy("run", "-d", "--name", "target", "--network", "none", NET_IMAGE, "sleep", "100000")
    own = [*bench.program, "exec", "target", "true"]
    rounds = 5 if bench.quick else 20
    if docker is None:
        (ours,) = in_turns(rounds, own, bench=bench)
        bench.add("exec", statistics.median(ours), "s")
        return
    subprocess.run(
        [*docker.client, "run", "-d", "--name", "target", "--network", "none", docker.image, "sleep", "100000"],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    ours, theirs = in_turns(rounds, own, [*docker.client, "exec", "target", "true"], bench=bench)
    bench.compare("exec, against docker exec", ours, theirs, peer="docker", target=0.3)


def measure_ports(bench: Bench, docker: peers.Docker) -> None:
    """Measure what a published port on the loopback carries, both ways, against docker's userland proxy."""
    server = ["iperf3", "--server"]
    # Docker takes a free port, too, when none is named; which one, `port` tells.
    publish = ["-p", f"127.0.0.1::{PORT}"]
    bench.carboy("run", "-d", "--name", "server", "--network", "private", *publish, NET_IMAGE, *server)
    subprocess.run(
        [*docker.client, "run", "-d", "--name", "server", *publish, docker.image, *server],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    own = int(bench.read("port", "server", str(PORT)).strip().rpartition(":")[2])
    said = subprocess.run([*docker.client, "port", "server", str(PORT)], capture_output=True, text=True, check=True)
    peer = int(said.stdout.split()[0].rpartition(":")[2])
    seconds = 1 if bench.quick else 4
    for name, options in (("into the container", []), ("out of it", ["--reverse"])):
        rates: list[list[float]] = [[], []]
        for _ in range(3):
            for port, kept in zip((own, peer), rates, strict=True):
                kept.append(measure_rate(bench, port, seconds, options))
        one, other = (statistics.median(kept) for kept in rates)
        detail = f"carboy {one:.1f} Gbit/s, docker-proxy {other:.1f} Gbit/s"
        bench.add(f"published port, {name}", one / other, "x", target=0.9, detail=detail, at_least=True)


def measure_rate(bench: Bench, port: int, seconds: int, options: list[str]) -> float:
    """Return what a client on the host gets through a port of the loopback, in Gbit/s."""
    client = ["iperf3", "--json", "--client", "127.0.0.1", "--port", str(port), "--time", str(seconds), *options]
    for _ in range(50):
        done = subprocess.run(
            [*bench.program, "run", "--rm", "--network", "host", NET_IMAGE, *client],
            env=bench.environ, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return float(json.loads(done.stdout)["end"]["sum_received"]["bits_per_second"]) / 1e9
        time.sleep(0.1)  # the server may not listen yet
    sys.exit(f"iperf3 does not get through port {port}:\n{done.stdout}\n{done.stderr}")


def measure_hundred(bench: Bench) -> None:
    """Measure a hundred containers that do nothing: the memory and time of all their processes, and `ps`."""
    count = 20 if bench.quick else 100
    begin = time.perf_counter()
    for number in range(count):
        bench.carboy("run", "-d", "--name", f"idle-{number}", "--network", "none", BASE, "sleep", "100000")
    bench.add(f"{count} detached starts, each", (time.perf_counter() - begin) / count, "s")
    names = bench.read("ps", "-q").split()
    roots = [find_keeper(int(pid)) for pid in bench.read("inspect", "-f", "{{.State.Pid}}", *names).split()]
    if len(roots) != count:
        sys.exit(f"{len(roots)} of {count} containers run")
    (times,) = in_turns(5 if bench.quick else 20, [*bench.program, "ps"], bench=bench)
    bench.add(f"ps with {count} containers", statistics.median(times), "s", target=0.15)
    family = [pid for root in roots for pid in list_family(root)]
    total = sum(read_pss_bytes(pid) for pid in family)
    detail = f"{len(family)} processes, the containers' own as well; {total / count / 1e6:.1f} MB each"
    bench.add(f"memory of {count} detached containers", total / 1e9, "GB", target=1.5 * count / 100, detail=detail)
    before = sum(map(read_ticks, family))
    time.sleep(REST_S)
    ticks = sum(map(read_ticks, family)) - before
    percent = 100 * ticks / os.sysconf("SC_CLK_TCK") / REST_S
    bench.add(f"processor time of {count} idle containers", percent, "%", target=0, detail=f"over {REST_S} s")


def remove_all(bench: Bench) -> None:
    """Remove every container of the benchmark's home."""
    if names := bench.read("ps", "-aq").split():
        bench.carboy("rm", "-f", *names)


# --- processes ----------------------------------------------------------------------------------------------------


def find_keeper(pid: int) -> int:
    """Return the topmost of carboy's own processes above a container's first process."""
    while True:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if parent <= 1 or not Path(f"/proc/{parent}/comm").read_text().startswith("carboy"):
            return pid
        pid = parent


def list_family(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(member for child in children for member in list_family(int(child)))]


def read_pss_bytes(pid: int) -> int:
    """Return the memory of a process, what it shares counted by its share."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return int(text.partition("\nPss:")[2].split()[0]) * 1024


def read_ticks(pid: int) -> int:
    """Return the processor time that a process has used, in ticks of the clock."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# --- network ------------------------------------------------------------------------------------------------------


@contextmanager
def own_network() -> Iterator[None]:
    """Be in a network namespace of one's own meanwhile, so that both sides' bridges and rules are gone afterwards."""
    libc = ctypes.CDLL(None, use_errno=True)
    before = os.open("/proc/self/ns/net", os.O_RDONLY)
    check_call(lambda: libc.unshare(CLONE_NEWNET))
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as talk:
            request = bytearray(struct.pack("16sh22x", b"lo", 0))
            fcntl.ioctl(talk, SIOCGIFFLAGS, request)
            (flags,) = struct.unpack_from("h", request, 16)
            struct.pack_into("h", request, 16, flags | IFF_UP)
            fcntl.ioctl(talk, SIOCSIFFLAGS, request)
        yield
    finally:
        check_call(lambda: libc.setns(before, CLONE_NEWNET))
        os.close(before)


def check_call(call: Callable[[], int]) -> None:
    """Raise ``PeerError`` when a system call fails."""
    if call() != 0:
        raise peers.PeerError(f"a network of one's own: {os.strerror(ctypes.get_errno())}")
