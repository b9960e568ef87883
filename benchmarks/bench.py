"""One run of the benchmark: the program, its home, what was measured, and how things are timed in turns."""

from __future__ import annotations

import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

BASE = "debian:bookworm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table: ``value`` must be at most (or at least) ``target`` (None: for information)."""

    name: str
    value: float
    unit: str
    target: float | None
    detail: str
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the target is met."""
        if self.target is None:
            return True
        return self.value >= self.target if self.at_least else self.value <= self.target


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

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        *,
        target: float | None = None,
        detail: str = "",
        at_least: bool = False,
    ) -> None:
        """Keep a figure, and tell whoever watches."""
        self.figures.append(Figure(name=name, value=value, unit=unit, target=target, detail=detail, at_least=at_least))
        print(f"  {name}: {value:.3g} {unit}  {detail}", file=sys.stderr, flush=True)

    def compare(self, name: str, ours: list[float], theirs: list[float], *, peer: str, target: float) -> None:
        """Keep the ratio of the medians of two lists of seconds."""
        one, other = statistics.median(ours), statistics.median(theirs)
        detail = f"carboy {render_seconds(one)}, {peer} {render_seconds(other)}"
        self.add(name, one / other, "x", target=target, detail=detail)

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


def render_seconds(seconds: float) -> str:
    """Return a time in the unit that it is usually told in."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def watch_memory(process: subprocess.Popen[bytes]) -> int:
    """Return the most memory (bytes) of carboy itself: the process and its children outside of any sandbox.

    That is the most of one process (VmHWM), or, where it is more, of all at one moment: a page that a fork shares counts once.
    """
    peak = 0
    outside = os.stat("/proc/self/ns/pid").st_ino
    while process.poll() is None:
        family, together = [process.pid], 0
        while family:
            pid = family.pop()
            try:
                inside = os.stat(f"/proc/{pid}/ns/pid").st_ino != outside
                family += [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
                if not inside:
                    together += read_field(f"/proc/{pid}/smaps_rollup", "Pss:")
                    peak = max(peak, read_field(f"/proc/{pid}/status", "VmHWM:"))
            except OSError:
                continue
        peak = max(peak, together)
        time.sleep(0.02)
    return peak


def read_field(path: str, name: str) -> int:
    """Return the bytes of a field of /proc that tells kilobytes, 0 when it is not there, as in one of a process that ends."""
    found = Path(path).read_text().partition(name)[2].split(maxsplit=1)
    return int(found[0]) * 1024 if found else 0


def in_turns(rounds: int, *commands: list[str], bench: Bench) -> list[list[float]]:
    """Return the times of each command, all of them run once per round, after one round that does not count."""
    times: list[list[float]] = [[] for _ in commands]
    for turn in range(rounds + 1):
        for command, kept in zip(commands, times, strict=True):
            elapsed = bench.time(command)
            if turn:
                kept.append(elapsed)
    return times


def export_rootfs(bench: Bench, name: str = BASE) -> Path:
    """Return a tar with the root file system of a base image: its one layer, which the store keeps as plain tar."""
    store = bench.home / "store"

    def read(digest: str) -> dict[str, list[dict[str, str]]]:
        document: dict[str, list[dict[str, str]]] = json.loads((store / "blobs" / digest.replace(":", "/")).read_text())
        return document

    index = json.loads((store / "index.json").read_text())
    key = "org.opencontainers.image.ref.name"
    digest = next(e["digest"] for e in index["manifests"] if e.get("annotations", {}).get(key, "").endswith(name))
    (layer,) = read(digest)["layers"]
    return store / "blobs" / layer["digest"].replace(":", "/")
