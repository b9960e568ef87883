"""Builds with a Dockerfile against Docker's classic builder: a machine-learning image, stages beside each other, many files."""

from __future__ import annotations

import io
import os
import shutil
import statistics
import subprocess
import tarfile
from contextlib import ExitStack
from pathlib import Path

import peers
from bench import BASE, Bench, export_rootfs

PYTHON_BASE = "bench-python:1"
PACKAGES = ("numpy", "pandas", "scikit-learn", "fastapi", "uvicorn", "joblib")
LEARNING = """FROM {base}
WORKDIR /app
COPY requirements.txt .
RUN pip install --break-system-packages --no-cache-dir -r requirements.txt
COPY app.py .
CMD ["python3", "app.py"]
"""
WORK = "RUN i=0; while [ $i -lt {loops} ]; do i=$((i+1)); done; echo $i >/result"
FILES = "FROM {base}\nCOPY . /data\n"


def measure_dockerfiles(bench: Bench) -> None:
    """Measure the whole part; without docker only carboy's own times are shown."""
    bench.carboy("bootstrap", BASE, "--include", "python3-pip", "--include", "python3-venv", "-t", PYTHON_BASE)
    with ExitStack() as stack:
        bench.environ["DOCKER_BUILDKIT"] = "0"
        builders = [Builder(bench, [*bench.program, "build", "--quiet"], PYTHON_BASE)]
        try:
            place = bench.folder / "docker-build"
            place.mkdir()
            rootfs = add_host_settings(export_rootfs(bench, PYTHON_BASE), place / "root.tar")
            docker = stack.enter_context(peers.open_dockerd(place, rootfs, bridge=False))
            command = [*docker.client, "build", "--quiet", "--network", "host"]
            builders.append(Builder(bench, command, docker.image))
        except peers.PeerError as error:
            bench.notes.append(f"builds are not measured against docker: {error}")
        measure_learning(bench, builders)
        measure_stages(bench, builders)
        measure_files(bench, builders)


class Builder:
    """One way to build a folder."""

    def __init__(self, bench: Bench, command: list[str], base: str) -> None:
        self._bench = bench
        self._command = command
        self.base = base

    def build(self, folder: Path) -> float:
        """Return the seconds that a build takes."""
        name = "bench-built:1"
        return self._bench.time([*self._command, "-f", str(folder / "Dockerfile"), "-t", name, str(folder)])


def measure_learning(bench: Bench, builders: list[Builder]) -> None:
    """Measure an image with a model server's packages: from nothing, its last file changed, and nothing changed."""
    folders = [make_folder(bench, f"learning-{n}", LEARNING.format(base=b.base)) for n, b in enumerate(builders)]
    cold: list[list[float]] = [[] for _ in builders]
    changed: list[list[float]] = [[] for _ in builders]
    again: list[list[float]] = [[] for _ in builders]
    for folder in folders:
        (folder / "requirements.txt").write_text("".join(f"{name}\n" for name in PACKAGES))
    for turn in range(4 if bench.quick else 11):
        for number, (builder, folder) in enumerate(zip(builders, folders, strict=True)):
            (folder / "app.py").write_text(f"print('a model, changed {turn} times')\n")
            (changed if turn else cold)[number].append(builder.build(folder))
            again[number].append(builder.build(folder))
    compare(bench, "machine-learning image by a Dockerfile", cold, target=0.7)
    compare(bench, "the same, last COPY changed", changed, target=1.0)
    compare(bench, "the same, nothing changed", again, target=0.5)
    bench.add("the same, nothing changed, carboy alone", statistics.median(again[0]), "s", target=0.3)


def measure_stages(bench: Bench, builders: list[Builder]) -> None:
    """Measure four stages that need nothing of each other."""
    times = []
    loops = 300_000 if bench.quick else 1_500_000
    for number, builder in enumerate(builders):
        stages = [f"FROM {builder.base} AS s{i}\n{WORK.format(loops=loops + i)}\n" for i in range(4)]
        copies = [f"COPY --from=s{i} /result /result-{i}\n" for i in range(4)]
        text = "".join([*stages, f"FROM {builder.base}\n", *copies])
        times.append([builder.build(make_folder(bench, f"stages-{number}", text))])
    compare(bench, "four independent stages", times, target=0.6)


def measure_files(bench: Bench, builders: list[Builder]) -> None:
    """Measure the copy of 20,000 files with 300 MB."""
    times = []
    for number, builder in enumerate(builders):
        folder = make_folder(bench, f"files-{number}", FILES.format(base=builder.base))
        for part in range(100):
            inner = folder / f"part-{part}"
            inner.mkdir()
            for name in range(200):
                (inner / f"{name}.bin").write_bytes(os.urandom(15_000))
        times.append([builder.build(folder)])
        shutil.rmtree(folder)
    compare(bench, "COPY of 20,000 files, 300 MB", times, target=0.7)


def make_folder(bench: Bench, name: str, dockerfile: str) -> Path:
    """Return a new folder with a Dockerfile."""
    folder = bench.folder / name
    folder.mkdir()
    (folder / "Dockerfile").write_text(dockerfile)
    return folder


def compare(bench: Bench, name: str, times: list[list[float]], *, target: float) -> None:
    """Add the ratio of carboy's median to docker's, or carboy's alone."""
    if len(times) == 1:
        bench.add(name, statistics.median(times[0]), "s")
    else:
        bench.compare(name, *times, peer="docker", target=target)


def add_host_settings(rootfs_tar: Path, target: Path) -> Path:
    """Return the root file system with this machine's certificates and pip's way to them: docker brings none into a build."""
    shutil.copy(rootfs_tar, target)
    bundle = os.environ.get("SSL_CERT_FILE", "/etc/ssl/certs/ca-certificates.crt")
    lines = ["[global]"]
    with tarfile.open(target, "a") as archive:
        if os.path.exists(bundle):
            add_file(archive, "etc/carboy-bench.pem", Path(bundle).read_bytes())
            lines.append("cert = /etc/carboy-bench.pem")
        for name in ("index-url", "extra-index-url", "trusted-host"):
            done = subprocess.run(
                ["pip", "config", "get", f"global.{name}"], capture_output=True, text=True, check=False
            )
            if done.returncode == 0 and "file:" not in done.stdout:
                lines.append(f"{name} = {done.stdout.strip()}")
        add_file(archive, "etc/pip.conf", "".join(f"{line}\n" for line in lines).encode())
    return target


def add_file(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    """Add a file of root's."""
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    archive.addfile(member, io.BytesIO(data))
