"""Images to a registry and from it, against skopeo and podman: 300 MB in ten layers, and a docker-registry on this machine.

And against podman: a file of 200 MB of which one part in a hundred changed, for whoever has the version before.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import subprocess
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import peers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from bench import Bench

LAYERS, LAYER_BYTES = 10, 30_000_000
NAME = "bench-layers:1"
DATA_BYTES, CHANGED_BYTES = 200_000_000, 2_000_000
_SENT = re.compile(rb'msg="response completed".* http.request.method=GET .*/blobs/.* http.response.written=(\d+)')


def measure_registry(bench: Bench) -> None:
    """Measure push, push again, and pull; peers that are not installed are left out."""
    make_image(bench)
    rounds = 1 if bench.quick else 3
    with ExitStack() as stack:
        clients: list[Client] = [Carboy(bench)]
        for kind in (Skopeo, Podman):
            try:
                clients.append(stack.enter_context(kind.open(bench)))
            except peers.PeerError as error:
                bench.notes.append(f"registries are not measured against {kind.name}: {error}")
        times: dict[tuple[str, str], list[float]] = {}
        for turn in range(rounds):
            for client in clients:
                try:
                    with open_registry(bench.folder / f"registry-{client.name}-{turn}") as host:
                        client.begin()
                        name = f"{host}/bench/layers:1"
                        for verb, act in (("push", client.push), ("push, again", client.push), ("pull", client.pull)):
                            times.setdefault((client.name, verb), []).append(act(name))
                except peers.PeerError as error:
                    bench.notes.append(f"registries are not measured: {error}")
                    return
        measure_change(bench, [client for client in clients if client.name != Skopeo.name], rounds)
    for verb in ("push", "push, again", "pull"):
        for client in clients[1:]:
            ours, theirs = times["carboy", verb], times[client.name, verb]
            bench.compare(f"{verb} of 300 MB, against {client.name}", ours, theirs, peer=client.name, target=1.0)


def measure_change(bench: Bench, clients: list[Client], rounds: int) -> None:
    """Measure the pull of a large file's next version: the time, against podman's, and what the registry sends."""
    times: dict[str, list[float]] = {}
    folder = bench.folder / "registry-data"
    with open_registry(folder) as host:
        names = [f"{host}/bench/data:{number}" for number in (1, 2)]
        push_versions(bench, names)
        for _ in range(rounds):
            for client in clients:
                client.forget_pulled()
                client.pull(names[0])
                told = (folder / "log").stat().st_size
                times.setdefault(client.name, []).append(client.pull(names[1]))
                if client.name == Carboy.name:
                    sent = sum(map(int, _SENT.findall((folder / "log").read_bytes()[told:])))
        for name in names:
            bench.carboy("rmi", name)
    what = "pull of 200 MB of data of which 1 % changed"
    bench.add(f"{what}, fetched", sent / 1e6, "MB", target=10.0)
    for client in clients[1:]:
        bench.compare(
            f"{what}, against {client.name}", times[Carboy.name], times[client.name], peer=client.name, target=1.0
        )


def push_versions(bench: Bench, names: list[str]) -> None:
    """Build and push two versions of data, half of them numbers as text."""
    folder = bench.folder / "data"
    folder.mkdir()
    (folder / "Dockerfile").write_text("FROM scratch\nCOPY data.bin /\n")
    chance = random.Random(2)
    data = bytearray(chance.randbytes(DATA_BYTES // 2))
    while len(data) < DATA_BYTES:
        data += b"%d,%.4f,%.3f\n" % (len(data), 100 * chance.random(), chance.gauss(0, 5))
    for name in names:
        (folder / "data.bin").write_bytes(data)
        bench.carboy("build", "--quiet", "-t", name, str(folder))
        bench.carboy("push", name)
        data[DATA_BYTES // 4 : DATA_BYTES // 4 + CHANGED_BYTES] = chance.randbytes(CHANGED_BYTES + 10)
    shutil.rmtree(folder)


def make_image(bench: Bench) -> None:
    """Make an image whose layers are, as usual ones, partly hard to compress."""
    folder = bench.folder / "layers"
    folder.mkdir()
    chance = random.Random(1)
    for number in range(LAYERS):
        hard = chance.randbytes(LAYER_BYTES // 3)
        (folder / f"{number}.bin").write_bytes(hard + chance.randbytes(LAYER_BYTES // 3).hex().encode())
    lines = [f"COPY {number}.bin /{number}.bin" for number in range(LAYERS)]
    (folder / "Dockerfile").write_text("\n".join(["FROM scratch", *lines, ""]))
    bench.carboy("build", "--quiet", "-t", NAME, str(folder))
    shutil.rmtree(folder)


class Client:
    """Something that pushes and pulls the image; times are seconds."""

    name = ""

    def begin(self) -> None:
        """Forget what was pulled, pushed, and compressed."""
        raise NotImplementedError

    def forget_pulled(self) -> None:
        """Forget what was pulled."""
        raise NotImplementedError

    def push(self, name: str) -> float:
        """Push the image under a name."""
        raise NotImplementedError

    def pull(self, name: str) -> float:
        """Pull it into an empty storage."""
        raise NotImplementedError


class Carboy(Client):
    """The program itself: pulled layers are verified, unpacked and durable."""

    name = "carboy"

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._home = bench.folder / "pulled"
        self._pushing = bench.folder / "pushing"

    def begin(self) -> None:
        """Push from a copy of the home, in which nothing has been compressed yet."""
        self.forget_pulled()
        shutil.rmtree(self._pushing, ignore_errors=True)
        shutil.copytree(self._bench.home, self._pushing, symlinks=True)

    def forget_pulled(self) -> None:
        """Pull into an empty home next."""
        shutil.rmtree(self._home, ignore_errors=True)

    def push(self, name: str) -> float:
        """Push the image under a name."""
        self._bench.carboy("tag", NAME, name, home=self._pushing)
        return self._bench.carboy("push", name, home=self._pushing)

    def pull(self, name: str) -> float:
        """Pull into an empty home."""
        return self._bench.carboy("pull", name, home=self._home)


class Skopeo(Client):
    """skopeo copy from the store's own layout, and into a layout: it unpacks nothing."""

    name = "skopeo"

    def __init__(self, bench: Bench, program: str) -> None:
        self._bench = bench
        self._words = [program, "copy", "-q", "--insecure-policy"]
        index = json.loads((bench.home / "store" / "index.json").read_text())
        key = "org.opencontainers.image.ref.name"
        names = [entry["annotations"][key] for entry in index["manifests"] if entry["annotations"][key].endswith(NAME)]
        self._source = f"oci:{bench.home}/store:{names[0]}"
        self._target = bench.folder / "skopeo"

    @classmethod
    @contextmanager
    def open(cls, bench: Bench) -> Iterator[Skopeo]:
        """Give it, or raise ``PeerError``."""
        program = shutil.which("skopeo")
        if program is None:
            raise peers.PeerError("skopeo is not installed")
        yield cls(bench, program)

    def begin(self) -> None:
        """Forget what was pulled."""
        self.forget_pulled()

    def forget_pulled(self) -> None:
        """Copy into an empty layout next."""
        shutil.rmtree(self._target, ignore_errors=True)

    def push(self, name: str) -> float:
        """Push the image under a name."""
        return self._bench.time([*self._words, "--dest-tls-verify=false", self._source, f"docker://{name}"])

    def pull(self, name: str) -> float:
        """Copy it into an empty layout."""
        return self._bench.time([*self._words, "--src-tls-verify=false", f"docker://{name}", f"oci:{self._target}:x"])


class Podman(Client):
    """podman push and pull, with storage of its own."""

    name = "podman"

    def __init__(self, bench: Bench, program: str) -> None:
        self._bench = bench
        self._program = program
        self._rest = ["--cgroup-manager", "cgroupfs", "--storage-driver", "overlay"]
        self._full = self._storage("full")

    def _storage(self, name: str) -> list[str]:
        folder = self._bench.folder / f"podman-{name}"
        return [self._program, "--root", f"{folder}/storage", "--runroot", f"{folder}/run", *self._rest]

    @classmethod
    @contextmanager
    def open(cls, bench: Bench) -> Iterator[Podman]:
        """Give it with the image in its storage, or raise ``PeerError``."""
        program = shutil.which("podman")
        if program is None or os.getuid() != 0:
            raise peers.PeerError("podman is not installed, or not called by root")
        archive = bench.folder / "layers.tar"
        bench.carboy("save", "-o", str(archive), NAME)
        found = cls(bench, program)
        try:
            if subprocess.run(
                [*found._full, "load", "-q", "-i", str(archive)], capture_output=True, check=False
            ).returncode:
                raise peers.PeerError("podman does not load the image")
            archive.unlink()
            yield found
        finally:
            for name in ("full", "empty"):
                words = [*found._storage(name), "system", "reset", "--force"]
                subprocess.run(words, capture_output=True, check=False)

    def begin(self) -> None:
        """Forget what was pulled."""
        self.forget_pulled()

    def forget_pulled(self) -> None:
        """Pull into an empty storage next."""
        subprocess.run([*self._storage("empty"), "rmi", "-af"], capture_output=True, check=False)

    def push(self, name: str) -> float:
        """Push the image under a name."""
        return self._bench.time([*self._full, "push", "-q", "--tls-verify=false", f"docker.io/library/{NAME}", name])

    def pull(self, name: str) -> float:
        """Pull into an empty storage."""
        return self._bench.time([*self._storage("empty"), "pull", "-q", "--tls-verify=false", name])


@contextmanager
def open_registry(folder: Path) -> Iterator[str]:
    """Start docker-registry with nothing in it, and give its name. Raises ``PeerError``."""
    program = shutil.which("docker-registry")
    if program is None:
        raise peers.PeerError("docker-registry is not installed")
    folder.mkdir()
    (folder / "config.yml").write_text(
        f"version: 0.1\nlog:\n  level: info\n  accesslog:\n    disabled: true\n"
        f"storage:\n  filesystem:\n    rootdirectory: {folder}\nhttp:\n  addr: 127.0.0.1:0\n  secret: x\n"
    )
    with (folder / "log").open("wb") as log:
        command = [program, "serve", str(folder / "config.yml")]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        for _ in range(500):
            found = re.search(rb"listening on (127\.0\.0\.1:\d+)", (folder / "log").read_bytes())
            if found or process.poll() is not None:
                break
            time.sleep(0.02)
        if not found:
            raise peers.PeerError("docker-registry does not start")
        yield found[1].decode()
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
