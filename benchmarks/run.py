"""Measure carboy, beside its peers where they are installed, and print the ratios beside the targets.

    python benchmarks/run.py [PART ...] [--quick] [--json] [--carboy PROGRAM]

The parts are start, parallel, bootstrap, iris, containers, dockerfiles, environments and registry; without one, all. Whole
processes are timed, by the wall.
Things that are compared are run in turns, so that what else the machine does hits both; the figure is the median.
Standard library only; all state is in one temporary folder.
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
from dataclasses import asdict
from pathlib import Path

import peers
from bench import BASE, Bench, export_rootfs, in_turns
from builds import measure_dockerfiles
from environments import measure_environments
from kept import measure_containers
from registry import measure_registry

CHECKOUT = Path(__file__).resolve().parent.parent
MEGABYTE = 1_000_000


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
        bench.compare(f"start, against {name} run", ours, theirs, peer=name, target=target)


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


PARTS = {
    "start": measure_start,
    "parallel": measure_parallel,
    "bootstrap": measure_bootstrap,
    "iris": measure_iris,
    "containers": measure_containers,
    "dockerfiles": measure_dockerfiles,
    "environments": measure_environments,
    "registry": measure_registry,
}


def render(bench: Bench) -> str:
    """Return the table."""
    rows = [("what", "measured", "goal", "", "")]
    for figure in bench.figures:
        limit = "" if figure.target is None else f"{'>=' if figure.at_least else '<='} {figure.target:g} {figure.unit}"
        verdict = "" if figure.target is None else ("holds" if figure.holds else "MISSED")
        rows.append((figure.name, f"{figure.value:.2f} {figure.unit}", limit, verdict, figure.detail))
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *bench.notes])


def main() -> None:
    """Measure the parts that were asked for and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="what to measure (default: all): " + ", ".join(PARTS))
    parser.add_argument("--quick", action="store_true", help="few rounds: does it work, roughly how fast")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    beside = Path(sys.executable).with_name("carboy")
    parser.add_argument("--carboy", default=str(beside if beside.exists() else "carboy"), help="the program to measure")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are: {', '.join(PARTS)}")
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="carboy-bench-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        bench = Bench(program=shlex.split(options.carboy), folder=folder, quick=options.quick)
        for part in options.parts or PARTS:
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
