"""Environments from requirements, against Docker with the Dockerfile that says the same: whole, one pin changed, one more.

Docker's builds are of their first kind each: it installs all packages whenever its requirements differ. Wheels that carboy has
fetched before lie in its cache, as after any earlier build on the machine; Docker's ``RUN pip install`` has no such place.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

import peers
from bench import Bench, export_rootfs
from builds import LEARNING, PACKAGES, PYTHON_BASE, add_host_settings, make_folder

PIN, OTHER_PIN, MORE = "joblib==1.4.2", "joblib==1.4.0", "toolz"
MANY = (
    *PACKAGES,
    "matplotlib", "seaborn", "requests", "httpx", "rich", "jinja2", "pyyaml", "tqdm", "sqlalchemy", "flask", "networkx",
    "statsmodels", "sympy", "pyarrow", "polars", "xgboost", "plotly", "bokeh", "altair", "ipython", "notebook", "pytest",
)  # fmt: skip
COUNT = "import importlib.metadata as m; print(len(list(m.distributions())))"
IMPORTS = "import time; b = time.perf_counter(); import pandas, sklearn; print(time.perf_counter() - b)"


def measure_environments(bench: Bench) -> None:
    """Measure the whole part; without docker only carboy's own times are shown."""
    folder = make_project(bench, "environment", (*PACKAGES, PIN))
    whole = measure_cached_wheels(bench, folder, (*PACKAGES, PIN))
    nothing = statistics.median(bench.carboy("build", str(folder)) for _ in range(3 if bench.quick else 10))
    pin = build(bench, folder, (*PACKAGES, OTHER_PIN))
    more = build(bench, folder, (*PACKAGES, PIN, MORE))
    theirs = measure_docker(bench)
    for name, ours, target in (
        ("environment from requirements, wheels cached", whole, 0.12),
        ("the same, one pin changed", pin, 0.04),
        ("the same, one package more", more, 0.04),
    ):
        if theirs is None:
            bench.add(name, ours, "s")
        else:
            bench.compare(name, [ours], [theirs], peer="docker build", target=target)
    bench.add("the same, nothing changed", nothing, "s", target=0.3)
    measure_import(bench, folder)
    if not bench.quick:
        measure_many(bench)
        measure_r(bench)


def make_project(bench: Bench, name: str, packages: tuple[str, ...]) -> Path:
    """Return a new folder of Python."""
    folder = bench.folder / name
    folder.mkdir()
    (folder / "main.py").write_text("print('a model')\n")
    (folder / "requirements.txt").write_text("".join(f"{package}\n" for package in packages))
    return folder


def build(bench: Bench, folder: Path, packages: tuple[str, ...]) -> float:
    """Return the seconds that a build takes with other requirements."""
    (folder / "requirements.txt").write_text("".join(f"{package}\n" for package in packages))
    return bench.carboy("build", str(folder), "-t", "environment:1")


def measure_cached_wheels(bench: Bench, folder: Path, packages: tuple[str, ...]) -> float:
    """Return the seconds of a build whose base is there, and of whose packages only the wheels are."""
    build(bench, folder, packages)  # fetches the base and the wheels
    drop_layers(bench)
    build(bench, folder, ())  # the base
    return build(bench, folder, packages)


def drop_layers(bench: Bench) -> None:
    """Forget everything but downloads. It goes aside: ext4 makes files slowly where it has just removed as many."""
    aside = Path(tempfile.mkdtemp(prefix="dropped-", dir=bench.folder))
    for path in bench.home.iterdir():
        if path.name != "cache":
            path.rename(aside / path.name)


def measure_docker(bench: Bench) -> float | None:
    """Return the seconds of Docker's build from the same requirements, None where it cannot be had."""
    bench.carboy(
        "bootstrap", "debian:bookworm", "--include", "python3-pip", "--include", "python3-venv", "-t", PYTHON_BASE
    )
    with ExitStack() as stack:
        bench.environ["DOCKER_BUILDKIT"] = "0"
        try:
            place = bench.folder / "docker-environment"
            place.mkdir()
            rootfs = add_host_settings(export_rootfs(bench, PYTHON_BASE), place / "root.tar")
            docker = stack.enter_context(peers.open_dockerd(place, rootfs, bridge=False))
        except peers.PeerError as error:
            bench.notes.append(f"environments are not measured against docker: {error}")
            return None
        folder = make_folder(bench, "environment-docker", LEARNING.format(base=docker.image))
        (folder / "requirements.txt").write_text("".join(f"{package}\n" for package in (*PACKAGES, PIN)))
        (folder / "app.py").write_text("print('a model')\n")
        return bench.time([*docker.client, "build", "--quiet", "--network", "host", "-t", "environment:1", str(folder)])


def measure_import(bench: Bench, folder: Path) -> None:
    """Measure the first import in a new container against one in an environment that uv made on this machine."""
    place = bench.folder / "venv"
    uv = str(Path(sys.executable).with_name("uv"))
    bench.time([uv, "venv", "--quiet", "--python", "/usr/bin/python3", str(place)])
    requirements = str(folder / "requirements.txt")
    bench.time(
        [uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", f"{place}/bin/python", "-r", requirements]
    )
    ours, theirs = [], []
    for _ in range(4 if bench.quick else 10):
        ours.append(float(bench.read("run", "--rm", "--network", "none", "environment:1", "python", "-c", IMPORTS)))
        theirs.append(float(subprocess.check_output([f"{place}/bin/python", "-c", IMPORTS])))
    bench.compare("import pandas, sklearn in a new container", ours, theirs, peer="a virtual environment", target=1.1)


def measure_many(bench: Bench) -> None:
    """Measure an environment of about 150 packages: from its wheels, and from its layers."""
    folder = make_project(bench, "many", MANY)
    whole = measure_cached_wheels(bench, folder, MANY)
    count = bench.read("run", "--rm", "--network", "none", "environment:1", "python", "-c", COUNT)
    bench.add(f"an environment of {count.strip()} packages, wheels cached", whole, "s")
    (folder / "main.py").write_text("print('another model')\n")
    bench.add("the same, layers cached, with other code", build(bench, folder, MANY), "s", target=3)


def measure_r(bench: Bench) -> None:
    """Measure one package of the distribution more in an image with the tidyverse; what that fetches is part of it."""
    folder = bench.folder / "tidyverse"
    folder.mkdir()
    (folder / "main.R").write_text("library(tidyverse)\n")
    wanted = folder / "install.R"
    wanted.write_text('install.packages("tidyverse")\n')
    bench.carboy("build", str(folder), "-t", "tidyverse:1")
    with wanted.open("a") as file:
        file.write('install.packages("randomForest")\n')
    bench.add(
        "tidyverse, one r-cran package more", bench.carboy("build", str(folder), "-t", "tidyverse:1"), "s", target=10
    )
    bench.read("run", "--rm", "--network", "none", "tidyverse:1", "Rscript", "-e", "library(randomForest)")
