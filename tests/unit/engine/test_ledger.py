from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from carboy.base.home import Home
from carboy.engine.containers.request import RunRequest
from carboy.engine.ledger.recorder import describe_mount
from carboy.engine.ledger.rerun import check_rerun, plan_env, plan_request
from carboy.engine.ledger.runs import list_runs, open_run, remove_run
from carboy.engine.notebooks.workbench import Workbench, find_notebook, plan_lab, plan_notebook
from carboy.errors import CarboyError
from carboy.ledger.record import Mount, Output, RunRecord, Variable
from carboy.ledger.store import RunStore
from carboy.oci.digest import Digest
from carboy.runtime.mounts import parse_mount

A = Digest.of(b"a")
BENCH = Workbench(manifest=str(A), folder="/mine/a,b", network="", notes=())


def mount(text: str) -> Mount:
    return describe_mount(parse_mount(text))


def make_record(**changes: object) -> RunRecord:
    record = RunRecord(
        id="a" * 64,
        manifest=A,
        image="small:test",
        command=("python", "train.py"),
        seed=7,
        started_at_s=1.5,
        platform="linux/amd64",
        version="0.1.0",
        workdir="/app",
        env=(Variable(name="MODE", value="x"), Variable(name="TOKEN", value=None)),
        mounts=(
            mount("type=bind,source=/data,target=/data,readonly"),
            mount("type=bind,source=/out,target=/out,idmap=owner"),
            mount("type=tmpfs,target=/fast"),
            mount("type=volume,target=/anonymous"),
        ),
        secrets=("src=/s,target=/run/secrets/s,mode=0400",),
        settings=(("limits", '[["memory", "1g"]]'), ("network", '"none"'), ("read_only", "true")),
        outputs=(Output(path="/out/a", digest=A),),
        exit_status=0,
        state="ended",
    )
    return record.replace(**changes)


def test_a_rerun_asks_for_what_the_run_asked_for():
    request = plan_request(make_record(), env=("MODE=x",), check=False)
    assert (request.entrypoint, request.arguments, request.workdir) == ((), ("python", "train.py"), "/app")
    assert (request.limits, request.network, request.read_only) == ((("memory", "1g"),), "none", True)
    assert request.env == ("MODE=x",)
    assert [kind for kind, _ in request.mounts] == ["mount"] * 4 + ["secret"]
    assert request.mounts[1] == ("mount", "type=bind,source=/out,target=/out,idmap=owner")


def test_a_check_writes_into_volumes_in_place_of_what_outlives_it():
    request = plan_request(make_record(), env=(), check=True)
    assert [text for kind, text in request.mounts if kind == "mount"] == [
        "type=bind,source=/data,target=/data,readonly",
        "type=volume,target=/out,volume-nocopy",
        "type=tmpfs,target=/fast",
        "type=volume,target=/anonymous",
    ]


def test_options_of_another_version_are_refused():
    with pytest.raises(CarboyError, match="cannot be read"):
        plan_request(make_record(settings=(("network", "{"),)), env=(), check=False)


def test_values_that_were_not_kept_come_from_the_caller_or_are_asked_for():
    said: list[str] = []
    record = make_record()
    assert plan_env(record, (), {"TOKEN": "t", "OTHER": "x"}, say=said.append) == ("MODE=x", "TOKEN=t")
    assert said == ["TOKEN was not kept; its value is taken from your environment"]
    assert plan_env(record, ("TOKEN=u", "MODE=y", "NEW=z"), {}, say=said.append) == ("MODE=y", "TOKEN=u", "NEW=z")
    with pytest.raises(CarboyError, match="not kept: TOKEN") as caught:
        plan_env(record, (), {}, say=said.append)
    assert caught.value.hint == f"carboy rerun -e TOKEN=VALUE {'a' * 12}"


@pytest.mark.parametrize(
    ("changes", "check", "problem"),
    [
        ({"hidden_words": True}, False, "held a secret"),
        ({"state": "running", "exit_status": None}, True, "the end .* was not recorded"),
        ({"outputs": ()}, True, "has no outputs"),
    ],
)
def test_what_cannot_be_done_again_says_why(changes: dict[str, object], check: bool, problem: str):
    with pytest.raises(CarboyError, match=problem):
        check_rerun(make_record(**changes), check=check)


def test_what_can_be_done_again():
    check_rerun(make_record(), check=True)
    check_rerun(make_record(outputs=(), state="running", exit_status=None), check=False)


def test_the_latest_run_is_the_one_that_began_last(home: Home):
    with pytest.raises(CarboyError, match="no recorded runs"):
        open_run(home, "latest")
    store = RunStore(home)
    store.write(make_record(started_at_s=2.0))
    store.write(make_record(id="b" * 64, started_at_s=1.0, state="running", seed=9))
    assert open_run(home, "latest").record.id == "a" * 64
    assert [view.status for view in list_runs(home)[0]] == ["ended", "lost"]
    for text, expected in (
        ("status=lost", "b"), ("seed=9", "b"), ("exited=0", "a"), ("ancestor=small", "ab"), ("ancestor=small:test", "ab"),
        (f"ancestor={A.hex[:12]}", "ab"), ("ancestor=", ""), ("id=b", "b"), ("label=x", ""),
    ):  # fmt: skip
        assert "".join(view.record.id[0] for view in list_runs(home, [text])[0]) == expected, text
    Path(home.path, "runs", f"{'c' * 64}.json").write_text("{")
    assert len(list_runs(home)[1]) == 1
    remove_run(home, "c")
    assert list_runs(home)[1] == []


def test_a_notebook_s_folder_is_mounted_where_it_runs():
    request = plan_notebook(RunRequest(arguments=("sub/a.ipynb",), env=("A=1",)), BENCH, "sub/a.ipynb")
    assert request.arguments == (
        "/opt/tools/bin/python", "/opt/carboy/execute.py", "sub/a.ipynb", "sub/a.executed.ipynb", "python3",
    )  # fmt: skip
    assert request.env == ("A=1",)
    ((_, text),) = request.mounts
    assert (parse_mount(text).source, parse_mount(text).idmap) == ("/mine/a,b", "owner")


def test_jupyterlab_listens_on_the_loopback_alone():
    request = plan_lab(BENCH, port=9000, token="t", network="")
    assert (request.publish, request.network, request.env) == (("127.0.0.1:9000:8888",), None, ("JUPYTER_TOKEN=t",))
    assert {"--ServerApp.ip=127.0.0.1", "--ServerApp.port=8888"} < set(request.arguments)
    assert not any("token" in word for word in request.arguments)  # where `ps` would show it
    shared = plan_lab(BENCH, port=9000, token="t", network="host")
    assert (shared.publish, shared.network) == ((), "host")
    assert {"--ServerApp.ip=127.0.0.1", "--ServerApp.port=9000"} < set(shared.arguments)
    assert not any("KernelSpec" in word for word in shared.arguments)
    r = plan_lab(replace(BENCH, kernels=("ir",)), port=9000, token="t", network="")
    assert "--KernelSpecManager.allowed_kernelspecs=ir" in r.arguments


def test_notebooks_are_found_in_their_folder_only(tmp_path: Path):
    (tmp_path / "sub").mkdir()
    for name in ("a.ipynb", "a.executed.ipynb", "sub/b.ipynb"):
        (tmp_path / name).write_text("{}")
    folder = str(tmp_path)
    assert find_notebook(folder, "a.ipynb") == find_notebook(folder, f"{folder}/a.ipynb") == "a.ipynb"
    assert find_notebook(folder, "./sub/b.ipynb") == "sub/b.ipynb"
    for name in ("no.ipynb", "../a.ipynb", "/a.ipynb", "sub"):
        with pytest.raises(CarboyError, match="there is no notebook") as caught:
            find_notebook(folder, name)
        assert caught.value.hint == "it has a.ipynb"
