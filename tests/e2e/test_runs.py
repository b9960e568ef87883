"""``carboy run --record``, ``runs`` and ``rerun``, in each tier, on an image of busybox."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from containers import wait_for
from small_image import SMALL

if TYPE_CHECKING:
    from conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

TRAIN = "cat /in/x > /dev/null; echo $CARBOY_SEED > /out/model; echo $PYTHONHASHSEED > /tmp/log; exit ${STATUS:-0}"


@pytest.fixture
def work(small_carboy: Carboy) -> Path:
    """Return a folder of the person's with an input, and a place for outputs."""
    person = small_carboy.person
    folder = Path(small_carboy.temporary) / f"work-{os.urandom(4).hex()}"
    for path in (folder, folder / "in", folder / "out"):
        path.mkdir()
        os.chown(path, person.uid, person.gid)
    (folder / "in" / "x").write_text("1 2 3\n")
    return folder


def record(carboy: Carboy, work: Path, *options: str, script: str = TRAIN, expect: int = 0) -> str:
    """Record a run and return its id."""
    mounts = ("-v", f"{work}/in:/in:ro", "-v", f"{work}/out:/out")
    done = carboy("run", "--record", *mounts, *options, SMALL, "sh", "-c", script, expect=expect)
    assert "recorded as " in done.stderr
    return done.stderr.rpartition("recorded as ")[2].strip()


def show(carboy: Carboy, run: str) -> dict[str, Any]:
    """Return what is recorded of a run."""
    (value,) = json.loads(carboy("runs", "show", "--json", run).stdout)
    return dict(value)


def list_unused_volumes(carboy: Carboy) -> set[str]:
    return set(carboy("volume", "ls", "-q", "--filter", "dangling=true").stdout.split())


def test_a_run_is_recorded_and_comes_out_equal_again(small_carboy: Carboy, work: Path, leftovers: Leftovers) -> None:
    carboy = small_carboy
    before = list_unused_volumes(carboy)  # the home is others' as well
    run = record(carboy, work, "--seed", "3", "--output", "/tmp/log", "-e", "MODE=fast", "-e", "API_TOKEN=sesame99")
    value = show(carboy, run)
    assert (value["seed"], value["exit_status"], value["state"], value["image"]) == (3, 0, "ended", SMALL)
    assert value["command"] == ["sh", "-c", TRAIN]
    assert value["env"] == [{"name": "API_TOKEN", "value": None}, {"name": "MODE", "value": "fast"}]
    assert [(item["path"], item["before"]) for item in value["outputs"]] == [("/out/model", None), ("/tmp/log", None)]
    assert {mount["target"]: mount["tree"]["count"] for mount in value["mounts"]} == {"/in": 1, "/out": 0}
    assert value["ended_at_s"] >= value["started_at_s"] > time.time() - 300
    assert value["usage"]["cpu_s"] > 0
    assert "sesame99" not in Path(carboy.home, "runs", f"{value['id']}.json").read_text()
    assert (work / "out" / "model").stat().st_uid == carboy.person.uid

    refused = carboy("rerun", "--check", run, expect=1).stderr
    assert "API_TOKEN" in refused
    again = carboy.using(carboy.home, API_TOKEN="sesame99")
    done = again("rerun", "--check", run)
    assert done.stdout == "equal: 2 outputs, exit status 0\n"
    assert "differs" not in done.stderr
    assert show(carboy, done.stderr.rpartition("recorded as ")[2].strip())["rerun_of"] == value["id"]
    assert leftovers.find() == []
    assert list_unused_volumes(carboy) <= before


def test_a_changed_seed_and_a_changed_input_are_named(small_carboy: Carboy, work: Path) -> None:
    carboy = small_carboy
    run = record(carboy, work, "--seed", "3")
    kept = (work / "out" / "model").read_bytes()
    done = carboy("rerun", "--check", "--seed", "7", run, expect=1)
    assert "carboy: differs: seed: 3 then, 7 now\n" in done.stderr
    assert "differs: output /out/model: " in done.stdout
    assert "what else was different: seed: 3 then, 7 now\n" in done.stdout
    assert (work / "out" / "model").read_bytes() == kept  # a check writes over nothing
    (work / "in" / "x").write_text("4\n")
    done = carboy("rerun", "--check", run)
    assert "carboy: differs: input /in/x: " in done.stderr
    assert done.stdout.startswith("equal: 1 output, exit status 0\nwhat else was different: input /in/x")
    done = carboy("rerun", "--seed", "7", run)  # without --check it works where the run did
    assert (work / "out" / "model").read_text() == "7\n"
    other = done.stderr.rpartition("recorded as ")[2].strip()
    differences = json.loads(carboy("runs", "diff", "--json", run, other, expect=1).stdout)
    assert [(item["kind"], item["name"]) for item in differences] == [
        ("seed", ""), ("input", "/in/x"), ("input", "/out/model"), ("output", "/out/model"),
    ]  # fmt: skip
    assert carboy("runs", "diff", run, run).stdout == "the runs do not differ\n"


def test_runs_are_listed_filtered_and_removed(small_carboy: Carboy, work: Path) -> None:
    carboy = small_carboy
    label = f"who={os.urandom(4).hex()}"
    failed = record(carboy, work, "--label", label, "-e", "STATUS=4", expect=4)
    good = record(carboy, work, "--label", label)
    mine = ("--filter", f"label={label}")
    assert carboy("runs", "-q", *mine).stdout.split() == [good, failed]
    assert carboy("runs", "-q", *mine, "--filter", "exited=4").stdout.split() == [failed]
    assert carboy("runs", "-q", *mine, "--filter", "status=lost").stdout == ""
    assert carboy("runs", "-q", "-n", "1", *mine, "--filter", "ancestor=small").stdout.split() == [good]
    assert [row["exit_status"] for row in json.loads(carboy("runs", "--json", *mine).stdout)] == [0, 4]
    head, first, _ = carboy("runs", *mine).stdout.splitlines()
    assert head.split() == ["RUN", "IMAGE", "COMMAND", "STARTED", "TOOK", "STATUS", "SEED", "OUTPUTS"]
    assert first.startswith(f"{good}  {SMALL}")
    assert "status:   exited (4)" in carboy("runs", "show", failed).stdout
    assert "no filter" in carboy("runs", "--filter", "nope=1", expect=2).stderr
    assert carboy("runs", "rm", good, failed).stdout == f"{good}\n{failed}\n"
    assert carboy("runs", "-q", *mine).stdout == ""
    assert f"there is no run {good}" in carboy("runs", "rm", good, expect=1).stderr


def test_one_that_carboy_does_not_live_to_end_is_lost(small_carboy: Carboy, work: Path, leftovers: Leftovers) -> None:
    carboy = small_carboy
    label = f"who={os.urandom(4).hex()}"
    words = ("-v", f"{work}/out:/out", "--label", label, SMALL, "sh", "-c", "echo > /out/began; sleep 100")
    process = carboy.start("run", "--record", *words)
    wait_for((work / "out" / "began").exists)
    (going,) = carboy("runs", "-q", "--filter", f"label={label}", "--filter", "status=running").stdout.split()
    assert "is going on" in carboy("runs", "rm", going, expect=1).stderr
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=20)
    assert carboy("runs", "-q", "--filter", f"label={label}", "--filter", "status=lost").stdout.split() == [going]
    assert "nothing to compare" in carboy("rerun", "--check", going, expect=1).stderr
    carboy("runs", "rm", going)
    assert leftovers.find() == []


def test_ctrl_c_ends_the_program_and_the_record(small_carboy: Carboy, work: Path) -> None:
    carboy = small_carboy
    label = f"who={os.urandom(4).hex()}"
    script = "trap 'exit 9' INT; echo > /out/began; while :; do sleep 0.05; done"
    words = ("-v", f"{work}/out:/out", "--label", label, SMALL, "sh", "-c", script)
    process = carboy.start("run", "--record", *words)
    wait_for((work / "out" / "began").exists)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert process.returncode == 9
    (row,) = json.loads(carboy("runs", "--json", "--filter", f"label={label}").stdout)
    assert (row["exit_status"], [item["path"] for item in row["outputs"]]) == (9, ["/out/began"])


def test_bad_input_is_refused_and_leaves_nothing(small_carboy: Carboy, work: Path) -> None:
    carboy = small_carboy
    before = carboy("runs", "-q").stdout
    for words, text in (
        (("--seed", "3"), "add --record"),
        (("--output", "/x"), "add --record"),
        (("--record", "--seed", "x"), "'x' is no seed"),
        (("--record", "--seed", str(2**32)), "is no seed"),
        (("--record", "-d"), "-d does not go with --record"),
        (("--record", "--restart", "always"), "--restart does not go"),
    ):
        assert text in carboy("run", *words, SMALL, "true", expect=2).stderr
    assert "only `carboy run` records" in carboy("create", "--record", SMALL, expect=2).stderr
    assert "there is no image" in carboy("run", "--record", "nowhere:1", expect=125).stderr
    assert "does not exist" in carboy("run", "--record", "-v", f"{work}/no:/no", SMALL, "true", expect=125).stderr
    assert carboy("runs", "-q").stdout == before
    assert "there is no run" in carboy("rerun", "feedfeed", expect=1).stderr
    # What was started and could not run is recorded, as what it is.
    carboy("run", "--record", "--label", "who=nobody", SMALL, "/no/such/program", expect=127)
    (row,) = json.loads(carboy("runs", "--json", "--filter", "label=who=nobody").stdout)
    assert row["exit_status"] == 127
    carboy("runs", "rm", row["id"])


def test_what_cannot_be_run_again_says_why(small_carboy: Carboy, work: Path) -> None:
    carboy = small_carboy
    hidden = record(carboy, work, "-e", "API_TOKEN=sesame99", script="echo sesame99 > /out/model")
    assert show(carboy, hidden)["command"][2] == "echo *** > /out/model"
    assert "held a secret" in carboy("rerun", "-e", "API_TOKEN=sesame99", hidden, expect=1).stderr
    silent = record(carboy, work, script="true")
    assert "nothing to compare" in carboy("rerun", "--check", silent, expect=1).stderr
    note = carboy("run", "--record", "--output", "no/where", SMALL, "true").stderr
    assert "the announced output /no/where was not written" in note
    run = record(carboy, work)
    (work / "in" / "x").unlink()
    (work / "in").rmdir()
    assert f"is gone: {work}/in" in carboy("rerun", run, expect=1).stderr
    (work / "in").mkdir()
    path = Path(carboy.home, "runs", f"{show(carboy, run)['id']}.json")
    text = path.read_text()
    path.write_text(text.replace(json.loads(text)["manifest"], f"sha256:{'0' * 64}"))
    gone = carboy("rerun", run, expect=1).stderr
    assert "is not here any more: small:test" in gone
    assert f"sha256:{'0' * 64}" in gone


def test_a_named_volume_is_an_input_and_a_check_leaves_it_alone(small_carboy: Carboy, work: Path) -> None:
    carboy, name = small_carboy, f"data-{os.urandom(4).hex()}"
    carboy("run", "--rm", "-v", f"{name}:/data", SMALL, "sh", "-c", "echo 1 > /data/n; chown 5:5 /data/n || true")
    run = record(carboy, work, "-v", f"{name}:/data", script="cat /data/n /data/n > /data/sum; echo x >> /data/n")
    outputs = {item["path"]: item["before"] is None for item in show(carboy, run)["outputs"]}
    assert outputs == {"/data/n": False, "/data/sum": True}
    done = carboy("rerun", "--check", run, expect=1)
    assert "differs: input /data/n: " in done.stderr  # what the run wrote over is not kept
    assert carboy("run", "--rm", "-v", f"{name}:/data", SMALL, "cat", "/data/n").stdout == "1\nx\n"
    carboy("volume", "rm", name)
