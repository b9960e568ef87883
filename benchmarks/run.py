"""Measure carboy, beside its peers where they are installed, and print the ratios beside the targets.

    python benchmarks/run.py [--quick] [--json] [--only start,parallel,bootstrap,iris] [--carboy PROGRAM]

Whole processes are timed, by the wall. Things that are compared are run in turns, so that what else the machine does
hits both; the figure is the median. Standard library only; all state is in one temporary folder.
"""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import peers

CHECKOUT = Path(__file__).resolve().parent.parent
BASE = "debian:bookworm"
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table: ``value`` must be at most ``target`` (None: for information)."""

    name: str
    value: float
    unit: str
    target: float | None
    detail: str


class Bench:
    """The state of one run: the program, its home, what was measured and what could not be."""

    def __init__(self, *, program: list[str], folder: Path, quick: bool) -> None:
        self.program = program
        self.folder = folder
        self.quick = quick
        self.figures: list[Figure] = []
        self.notes: list[str] = []
        self.peak_bytes: dict[str, int] = {}
        self.home = folder / "carboy"
        self.environ = {**os.environ, "CARBOY_HOME": str(self.home)}
        self.environ.pop("PYTHONDONTWRITEBYTECODE", None)

    def add(self, name: str, value: float, unit: str, *, target: float | None = None, detail: str = "") -> None:
        """Keep a figure, and tell whoever watches."""
        self.figures.append(Figure(name=name, value=value, unit=unit, target=target, detail=detail))
        print(f"  {name}: {value:.3g} {unit}  {detail}", file=sys.stderr, flush=True)

    def time(self, command: list[str], *, home: Path | None = None, watch: str = "") -> float:
        """Return the seconds that a command takes; raises ``SystemExit`` when it fails."""
        environ = {**self.environ, "CARBOY_HOME": str(home)} if home else self.environ
        with tempfile.TemporaryFile() as output:
            begin = time.perf_counter()
            process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            if watch:
                self.peak_bytes[watch] = max(self.peak_bytes.get(watch, 0), watch_memory(process))
            status = process.wait()
            elapsed = time.perf_counter() - begin
            if status:
                output.seek(0)
                sys.exit(f"{shlex.join(command)} ended with {status}:\n{output.read().decode(errors='replace')}")
        return elapsed

    def carboy(self, *arguments: str, home: Path | None = None, watch: str = "") -> float:
        """Return the seconds that a carboy command takes."""
        return self.time([*self.program, *arguments], home=home, watch=watch)

    def read(self, *arguments: str) -> str:
        """Return what a carboy command prints."""
        done = subprocess.run([*self.program, *arguments], env=self.environ, capture_output=True, text=True, check=True)
        return done.stdout


def watch_memory(process: subprocess.Popen[bytes]) -> int:
    """Return the most memory (VmHWM, bytes) of carboy itself: the process and its children outside of any sandbox."""
    peak = 0
    outside = os.stat("/proc/self/ns/pid").st_ino
    while process.poll() is None:
        family, peak_now = [process.pid], 0
        while family:
            pid = family.pop()
            try:
                inside = os.stat(f"/proc/{pid}/ns/pid").st_ino != outside
                status = Path(f"/proc/{pid}/status").read_text()
                family += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            except OSError:
                continue
            if not inside and "VmHWM:" in status:
                peak_now += int(status.partition("VmHWM:")[2].split()[0]) * 1024
        peak = max(peak, peak_now)
        time.sleep(0.02)
    return peak


def in_turns(rounds: int, *commands: list[str], bench: Bench) -> list[list[float]]:
    """Return the times of each command, all of them run once per round, after one round that does not count."""
    times: list[list[float]] = [[] for _ in commands]
    for turn in range(rounds + 1):
        for command, kept in zip(commands, times, strict=True):
            elapsed = bench.time(command)
            if turn:
                kept.append(elapsed)
    return times


def export_rootfs(bench: Bench) -> Path:
    """Return a tar with the root file system of the base image: its one layer, which the store keeps as plain tar."""
    store = bench.home / "store"

    def read(digest: str) -> dict[str, list[dict[str, str]]]:
        document: dict[str, list[dict[str, str]]] = json.loads((store / "blobs" / digest.replace(":", "/")).read_text())
        return document

    index = json.loads((store / "index.json").read_text())
    key = "org.opencontainers.image.ref.name"
    digest = next(e["digest"] for e in index["manifests"] if e.get("annotations", {}).get(key, "").endswith(BASE))
    (layer,) = read(digest)["layers"]
    return store / "blobs" / layer["digest"].replace(":", "/")


def measure_start(bench: Bench) -> None:
    """Measure one start of a container against podman and docker, then sixteen at once."""
    bench.carboy("bootstrap", BASE)
    rootfs = export_rootfs(bench)
    own = [*bench.program, "run", "--rm", "--network", "none", BASE, "true"]
    rounds = 5 if bench.quick else 20
    for name, opener, target in (("podman", peers.open_podman, 0.35), ("docker", peers.open_docker, 0.25)):
        place = bench.folder / name
        place.mkdir()
        try:
            with opener(place, rootfs) as peer:
                ours, theirs = in_turns(rounds, own, peer, bench=bench)
        except peers.PeerError as error:
            bench.notes.append(f"not measured against {name}: {error}")
            continue
        one, other = statistics.median(ours), statistics.median(theirs)
        detail = f"carboy {one * 1000:.0f} ms, {name} {other * 1000:.0f} ms"
        bench.add(f"start, against {name} run", one / other, "x", target=target, detail=detail)


def measure_parallel(bench: Bench) -> None:
    """Measure sixteen starts at once against one."""
    bench.carboy("bootstrap", BASE)
    own = [*bench.program, "run", "--rm", "--network", "none", BASE, "true"]
    singles, crowds = [], []
    bench.time(own)
    for _ in range(3 if bench.quick else 10):
        singles.append(bench.time(own))
        begin = time.perf_counter()
        crowd = [subprocess.Popen(own, env=bench.environ, stdin=subprocess.DEVNULL) for _ in range(16)]
        statuses = [process.wait() for process in crowd]
        crowds.append(time.perf_counter() - begin)
        if any(statuses):
            sys.exit(f"16 at once ended with {statuses}")
    one, sixteen = statistics.median(singles), statistics.median(crowds)
    detail = f"one {one * 1000:.0f} ms, sixteen {sixteen * 1000:.0f} ms, {os.cpu_count()} cores"
    bench.add("16 starts at once, against one", sixteen / one, "x", target=4, detail=detail)


def measure_bootstrap(bench: Bench) -> None:
    """Measure the base image from the archive against mmdebstrap, and from the cache."""
    ours: list[float] = []
    theirs: list[float] = []
    rounds = 1 if bench.quick else 3
    for turn in range(rounds):
        home = bench.folder / f"bootstrap-{turn}"
        try:
            with peers.open_mmdebstrap() as peer:
                target = bench.folder / "minbase.tar"
                theirs.append(bench.time([*peer, str(target), *peers.find_apt_sources()]))
                target.unlink()
        except peers.PeerError as error:
            bench.notes.append(f"not measured against mmdebstrap: {error}")
        ours.append(bench.carboy("bootstrap", BASE, home=home, watch="bootstrap"))
        cached = statistics.median(bench.carboy("bootstrap", BASE, home=home) for _ in range(5))
        shutil.rmtree(home, ignore_errors=True)
    one = statistics.median(ours)
    if theirs:
        other = statistics.median(theirs)
        detail = f"carboy {one:.1f} s, mmdebstrap {other:.1f} s, median of {rounds}"
        bench.add("Debian base, against mmdebstrap minbase", one / other, "x", target=0.6, detail=detail)
    else:
        bench.add("Debian base", one, "s")
    bench.add("Debian base from the cache", cached, "s", target=0.2)


def measure_iris(bench: Bench) -> None:
    """Measure the main job again with nothing changed, and with one line changed, without the script's own time."""
    folder = bench.folder / "iris"
    shutil.copytree(CHECKOUT / "examples" / "iris", folder)
    bench.add("examples/iris, first run", bench.carboy("run", str(folder), watch="first run"), "s")
    bench.carboy("build", str(folder), "-t", "iris:bench", watch="build")
    config = json.loads(bench.read("inspect", "iris:bench"))
    inner = find_command(config)
    timer = f"import subprocess as s, time as t; b = t.perf_counter(); s.run({inner!r}, check=True, stdout=s.DEVNULL)"
    timer += "; print(t.perf_counter() - b)"
    again, changed, script = [], [], []
    bench.carboy("run", str(folder))
    for turn in range(3 if bench.quick else 7):
        script.append(float(bench.read("run", "--rm", "--entrypoint", "python3", "iris:bench", "-c", timer)))
        again.append(bench.carboy("run", str(folder), watch="second run"))
        with (folder / "predict.py").open("a") as source:
            source.write(f"# line {turn}\n")
        changed.append(bench.carboy("run", str(folder), watch="one line changed"))
    own = statistics.median(script)
    detail = f"the script's own {own:.2f} s taken off"
    bench.add("second run of examples/iris", statistics.median(again) - own, "s", target=0.5, detail=detail)
    bench.add("one source line changed", statistics.median(changed) - own, "s", target=1.0, detail=detail)


def find_command(document: object) -> list[str]:
    """Return entry point and command from what ``carboy inspect`` prints, wherever in the document they stand."""
    if isinstance(document, list):
        return next((found for item in document if (found := find_command(item))), [])
    if not isinstance(document, dict):
        return []
    if "Cmd" in document or "Entrypoint" in document:
        return [*(document.get("Entrypoint") or []), *(document.get("Cmd") or [])]
    return next((found for item in document.values() if (found := find_command(item))), [])


PARTS = {"start": measure_start, "parallel": measure_parallel, "bootstrap": measure_bootstrap, "iris": measure_iris}


def render(bench: Bench) -> str:
    """Return the table."""
    rows = [("what", "measured", "at most", "", "")]
    for figure in bench.figures:
        limit = "" if figure.target is None else f"{figure.target:g} {figure.unit}"
        verdict = "" if figure.target is None else ("holds" if figure.value <= figure.target else "MISSED")
        rows.append((figure.name, f"{figure.value:.2f} {figure.unit}", limit, verdict, figure.detail))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *bench.notes])


def main() -> None:
    """Measure the parts that were asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work, roughly how fast")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--only", default=",".join(PARTS), help="comma-separated parts: " + ", ".join(PARTS))
    beside = Path(sys.executable).with_name("carboy")
    parser.add_argument("--carboy", default=str(beside if beside.exists() else "carboy"), help="the program to measure")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="carboy-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        bench = Bench(program=shlex.split(options.carboy), folder=folder, quick=options.quick)
        for part in options.only.split(","):
            print(f"{part}:", file=sys.stderr, flush=True)
            PARTS[part](bench)
        if bench.peak_bytes:
            where, peak = max(bench.peak_bytes.items(), key=lambda item: item[1])
            bench.add("peak memory of carboy itself", peak / MEGABYTE, "MB", target=200, detail=f"in: {where}")
    if options.json:
        print(json.dumps({"figures": [asdict(figure) for figure in bench.figures], "notes": bench.notes}, indent=1))
    else:
        print(render(bench))


if __name__ == "__main__":
    main()
