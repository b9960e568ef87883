"""Notebooks: executed as a run, recorded, and worked on in JupyterLab; nothing of a folder's lock changes for it."""

from __future__ import annotations

import json
import os
import re
import select
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess

    from conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.userns]
LONG = [
    pytest.mark.long,
    pytest.mark.root,
    pytest.mark.network,
    pytest.mark.timeout(600),
]


def make_notebook(*cells: str, language: str = "python") -> str:
    """Return a notebook of code cells."""
    written = [
        {"cell_type": "code", "execution_count": None, "metadata": {}, "outputs": [], "source": cell} for cell in cells
    ]
    spec = {"name": "x", "display_name": "x", "language": language}
    return json.dumps({"cells": written, "metadata": {"kernelspec": spec}, "nbformat": 4, "nbformat_minor": 4})


def make_folder(carboy: Carboy, name: str, files: dict[str, str]) -> Path:
    """Return a folder of the person's with these files."""
    person = carboy.person
    folder = Path(carboy.temporary) / f"{name}-{os.urandom(4).hex()}"
    folder.mkdir()
    for file, text in files.items():
        (folder / file).write_text(text)
        os.chown(folder / file, person.uid, person.gid)
    os.chown(folder, person.uid, person.gid)
    return folder


def ask(address: str, *, method: str = "GET", body: bytes | None = None) -> tuple[int, Any]:
    """Return the status of an HTTP request, and the JSON that came where it is JSON."""
    request = urllib.request.Request(address, method=method, data=body)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
            status, data = answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            status, data = error.code, error.read()
    try:
        return status, json.loads(data)
    except ValueError:
        return status, None


def read_until(process: subprocess.Popen[str], pattern: str) -> re.Match[str]:
    """Return where the pattern is in what a process prints."""
    assert process.stdout is not None
    text = ""
    while True:
        ready, _, _ = select.select([process.stdout], [], [], 400)
        assert ready, f"nothing came: {text}"
        line = process.stdout.readline()
        text += line
        assert line, f"it ended: {text}"
        if found := re.search(pattern, text):
            return found


@pytest.mark.parametrize("_", [pytest.param(0, marks=LONG)])
def test_a_notebook_is_a_recorded_run_in_every_tier(tier_carboy: Carboy, leftovers: Leftovers, _: int) -> None:
    carboy, person = tier_carboy, tier_carboy.person
    count = "import os, tabulate\nseed = int(os.environ['CARBOY_SEED'])\nprint('seed', seed)"
    files = {
        "requirements.txt": "tabulate==0.9.0\n",
        "count.ipynb": make_notebook(count, "open('result.txt', 'w').write(str(seed))\ntabulate.__file__"),
        "bad.ipynb": make_notebook("print('before')", "1 / 0"),
        "r.ipynb": make_notebook("print(1)", language="R"),
        "none.ipynb": "{",
    }
    folder = make_folder(carboy, "notebooks", files)
    done = carboy("run", "--record", "--seed", "5", str(folder), "count.ipynb", timeout_s=580)
    assert "seed 5\n'/opt/env/lib/" in done.stdout  # the folder's own package, not one of the tools'
    executed = folder / "count.executed.ipynb"
    notebook = json.loads(executed.read_text())
    assert [cell["outputs"][0]["output_type"] for cell in notebook["cells"]] == ["stream", "execute_result"]
    for path in (executed, folder / "result.txt"):
        assert (path.stat().st_uid, path.stat().st_gid) == (person.uid, person.gid)
    assert sorted(os.listdir(folder)) == sorted([*files, "count.executed.ipynb", "result.txt"])

    run = done.stderr.rpartition("recorded as ")[2].split()[0]
    assert carboy("rerun", "--check", run).stdout.endswith("equal: 2 outputs, exit status 0\n")
    other = carboy("rerun", "--check", "--seed", "6", run, expect=1)
    assert "differs: output /app/count.executed.ipynb" in other.stdout
    assert "what else was different: seed: 5 then, 6 now" in other.stdout
    assert (folder / "result.txt").read_text() == "5"

    process = carboy.start("run", str(folder), "bad.ipynb")
    output, error = process.communicate(timeout=100)
    assert (process.returncode, output) == (1, "before\n")
    assert "Traceback (most recent call last)" in error  # the notebook's own
    assert "ZeroDivisionError" in error
    assert "\x1b" not in error
    assert "ZeroDivisionError" in (folder / "bad.executed.ipynb").read_text()
    assert "is written in R" in carboy("run", str(folder), "r.ipynb", expect=1).stderr
    assert "is no notebook" in carboy("run", str(folder), "none.ipynb", expect=1).stderr
    assert leftovers.find() == []


@pytest.mark.parametrize("_", [pytest.param(0, marks=LONG)])
def test_jupyterlab_answers_to_who_has_the_token_in_every_tier(
    tier_carboy: Carboy, leftovers: Leftovers, _: int
) -> None:
    carboy, person = tier_carboy, tier_carboy.person
    folder = make_folder(carboy, "lab", {"requirements.txt": "tabulate==0.9.0\n", "main.py": "print(1)\n"})
    there = carboy("ps", "-aq").stdout  # the home is others' as well
    lock = carboy("lock", str(folder), timeout_s=300)
    assert lock.returncode == 0
    locked = (folder / "carboy.lock").read_bytes()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        refused = carboy("notebook", "--port", str(port), str(folder), expect=1, timeout_s=580)
        assert f"port {port} of 127.0.0.1 cannot be had" in refused.stderr
    process = carboy.start("notebook", "--port", str(port), str(folder))
    try:
        found = read_until(process, r"(http://127\.0\.0\.1:(\d+))/lab\?token=(\w{48})\n")
        address, token = found[1], found[3]
        assert int(found[2]) == port
        assert ask(f"{address}/api/contents")[0] == 403
        assert ask(f"{address}/api/contents?token=wrong")[0] == 403
        status, contents = ask(f"{address}/api/contents?token={token}")
        assert (status, {item["name"] for item in contents["content"]}) == (
            200,
            {"main.py", "requirements.txt", "carboy.lock"},
        )
        assert ask(f"{address}/lab?token={token}")[0] == 200
        body = json.dumps({"type": "file", "format": "text", "content": "hello"}).encode()
        assert ask(f"{address}/api/contents/made.txt?token={token}", method="PUT", body=body)[0] == 201
        assert ask(f"{address}/api/kernels?token={token}", method="POST", body=b'{"name": "python3"}')[0] == 201
        listening = Path("/proc/net/tcp").read_text() + Path("/proc/net/tcp6").read_text()
        hosts = {
            line.split()[1] for line in listening.splitlines() if f":{port:04X}" in line.split()[1] and " 0A " in line
        }
        assert hosts == {f"0100007F:{port:04X}"}
    finally:
        os.kill(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    made = (folder / "made.txt").stat()
    assert (made.st_uid, made.st_gid) == (person.uid, person.gid)
    assert (folder / "carboy.lock").read_bytes() == locked
    assert carboy("ps", "-aq").stdout == there
    assert leftovers.find() == []


@pytest.mark.parametrize("_", [pytest.param(0, marks=LONG)])
def test_jupyterlab_is_served_from_a_bundle(folders_carboy: Carboy, tmp_path: Path, _: int) -> None:
    files = {"requirements.txt": "tabulate==0.9.0\n", "count.ipynb": make_notebook("1")}
    folder, bundle = make_folder(folders_carboy, "lab", files), str(tmp_path / "bundle.tar")
    said = folders_carboy("fetch", "--notebook", str(folder), "-o", bundle).stdout
    assert said.count("Python: ") == 3  # what executes notebooks is chosen by itself
    command = ("notebook", "--offline", "--bundle", bundle, str(folder))
    process = folders_carboy.start(*command, prefix=("unshare", "-n"))
    try:
        read_until(process, r"/lab\?token=\w{48}\n")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        _, error = process.communicate(timeout=60)
    assert process.returncode == 0, error
    for words in (
        ("notebook", "--bundle", bundle, str(folder)),
        ("run", "--bundle", bundle, str(folder), "count.ipynb"),
    ):
        assert "add --offline" in folders_carboy(*words, expect=2).stderr


@pytest.mark.parametrize("_", [pytest.param(0, marks=LONG)])
def test_a_folder_of_both_languages_has_both_kernels(folders_carboy: Carboy, leftovers: Leftovers, _: int) -> None:
    carboy = folders_carboy
    r = 'cat("seed", Sys.getenv("CARBOY_SEED"), "\\n")'
    files = {
        "requirements.txt": "tabulate==0.9.0\n",
        "install.R": 'install.packages("abind")\n',
        "r.ipynb": make_notebook(
            r, 'writeLines("5", "result.txt")\ndim(abind::abind(1:2, 3:4, along = 2))', language="R"
        ),
        "bad.ipynb": make_notebook('cat("before\\n")', 'stop("by intent")', language="R"),
        "python.ipynb": make_notebook("import tabulate\nprint(tabulate.__version__)"),
        "julia.ipynb": make_notebook("1", language="julia"),
    }
    folder = make_folder(carboy, "both", files)
    done = carboy("run", "--record", "--seed", "5", str(folder), "r.ipynb", timeout_s=580)
    assert done.stdout == "seed 5 \n[1] 2 2\n"
    notebook = json.loads((folder / "r.executed.ipynb").read_text())
    assert [cell["outputs"][0]["output_type"] for cell in notebook["cells"]] == ["stream", "display_data"]
    run = done.stderr.rpartition("recorded as ")[2].split()[0]
    assert carboy("rerun", "--check", run).stdout.endswith("equal: 2 outputs, exit status 0\n")
    assert carboy("run", "--offline", str(folder), "python.ipynb").stdout == "0.9.0\n"
    process = carboy.start("run", str(folder), "bad.ipynb")
    output, error = process.communicate(timeout=100)
    assert (process.returncode, output) == (1, "before\n")
    assert "by intent" in error
    refused = carboy("run", str(folder), "julia.ipynb", expect=1).stderr
    assert "julia.ipynb is written in julia, and there are kernels for Python and R only" in refused
    assert leftovers.find() == []


def test_what_cannot_be_a_notebook_is_refused_before_anything_is_built(carboy: Carboy) -> None:
    folder = make_folder(carboy, "refused", {"a.ipynb": make_notebook("1"), "Dockerfile": "FROM scratch\n"})
    missing = carboy("run", str(folder), "b.ipynb", expect=1).stderr
    assert "there is no notebook b.ipynb" in missing
    assert "it has a.ipynb" in missing
    assert "takes no arguments" in carboy("run", str(folder), "a.ipynb", "x", expect=2).stderr
    assert "stand before the folder" in carboy("run", str(folder), "a.ipynb", "--offline", expect=2).stderr
    assert "cannot be built of a bundle" in carboy("run", "--offline", str(folder), expect=1).stderr
    assert "--offline is for a folder" in carboy("run", "--offline", "an-image", expect=2).stderr
    assert "leave -d out" in carboy("run", "-d", str(folder), "a.ipynb", expect=2).stderr
    assert "is built by its Dockerfile" in carboy("run", str(folder), "a.ipynb", expect=1).stderr
    assert "is built by its Dockerfile" in carboy("notebook", str(folder), expect=1).stderr
    assert "is no port" in carboy("notebook", "--port", "70000", str(folder), expect=2).stderr
    assert "there is no RStudio Server" in carboy("rstudio", str(folder), expect=1).stderr
    assert carboy("images", "-q").stdout == ""
