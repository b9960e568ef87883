import json
from pathlib import Path
from typing import Any

import pytest

from carboy.errors import CarboyError
from carboy.runtime.cdi import find_edits, is_qualified, parse_gpus, read_documents
from carboy.runtime.spec import BindMount, Device


def document(**edits: Any) -> dict[str, Any]:
    return {
        "cdiVersion": "0.6.0",
        "kind": "nvidia.com/gpu",
        "containerEdits": {"env": ["NVIDIA_VISIBLE_DEVICES=void"]},
        "devices": [
            {"name": "0", "containerEdits": {"deviceNodes": [{"path": "/dev/nvidia0", "hostPath": "/dev/null"}]}},
            {"name": "all", "containerEdits": edits},
        ],
    }


def test_what_gpus_names():
    assert parse_gpus("all") == ("nvidia.com/gpu=all",)
    assert parse_gpus("2") == ("nvidia.com/gpu=0", "nvidia.com/gpu=1")
    assert parse_gpus('"device=0,GPU-1b"') == ("nvidia.com/gpu=0", "nvidia.com/gpu=GPU-1b")
    assert parse_gpus("all,capabilities=utility") == ("nvidia.com/gpu=all",)
    assert parse_gpus("count=1") == ("nvidia.com/gpu=0",)
    assert parse_gpus("amd.com/gpu=all") == ("amd.com/gpu=all",)
    for text in ("", "0", "many", "device=", "device=../x", "1000", "-2"):
        with pytest.raises(CarboyError):
            parse_gpus(text)
    assert not is_qualified("/dev/null:/dev/x=y")


def test_edits_of_the_document_and_the_device_are_joined():
    edits = {
        "deviceNodes": [{"path": "/dev/nvidiactl", "permissions": "rw"}],
        "mounts": [{"hostPath": "/usr/lib/a.so", "containerPath": "/usr/lib/a.so", "options": ["ro", "nosuid", "rbind"]},
                   {"hostPath": "/run/s", "containerPath": "/run/s", "options": ["rw", "noexec"]}],
        "additionalGids": [44, 0],
    }  # fmt: skip
    found = find_edits(("nvidia.com/gpu=all", "nvidia.com/gpu=0"), [document(**edits)])
    assert found.env == ("NVIDIA_VISIBLE_DEVICES=void",)
    assert found.devices == (
        Device(source="/dev/nvidiactl", target="/dev/nvidiactl", permissions="rw"),
        Device(source="/dev/null", target="/dev/nvidia0"),
    )
    assert found.mounts == (
        BindMount(source="/usr/lib/a.so", target="/usr/lib/a.so", recursive=True),
        BindMount(source="/run/s", target="/run/s", read_only=False, noexec=True, recursive=False),
    )
    assert found.groups == ("44",)


def test_rows32_to_34_hooks_are_refused_by_name():
    hook = {
        "hookName": "createContainer",
        "path": "/usr/bin/nvidia-cdi-hook",
        "args": ["nvidia-cdi-hook", "update-ldcache"],
    }
    with pytest.raises(CarboyError) as caught:
        find_edits(("nvidia.com/gpu=all",), [document(hooks=[hook])])
    assert "update-ldcache" in caught.value.details
    find_edits(("nvidia.com/gpu=0",), [document(hooks=[hook])])  # of another device


@pytest.mark.parametrize(
    "edits",
    [
        {"env": ["A"]}, {"env": ["A=1\nB=2"]}, {"env": [1]}, {"deviceNodes": [{"path": "dev/x"}]},
        {"deviceNodes": [{"path": "/dev/../x"}]}, {"deviceNodes": [{"path": "/dev/x", "permissions": "z"}]},
        {"mounts": [{"hostPath": "/a"}]}, {"mounts": [{"hostPath": "/a", "containerPath": "/b", "type": "tmpfs"}]},
        {"intelRdt": {"x": 1}}, {"surprise": 1},
    ],
)  # fmt: skip
def test_a_damaged_specification_is_refused(edits: dict[str, Any]):
    with pytest.raises(CarboyError) as caught:
        find_edits(("nvidia.com/gpu=all",), [document(**edits)])
    assert caught.value.code == 125


def test_a_name_that_there_is_not_says_which_there_are():
    with pytest.raises(CarboyError) as caught:
        find_edits(("nvidia.com/gpu=7",), [document()])
    assert "nvidia.com/gpu=0" in caught.value.hint
    with pytest.raises(CarboyError) as caught:
        find_edits(("nvidia.com/gpu=7",), [])
    assert "nvidia-ctk" in caught.value.hint


def test_documents_are_read_from_json_and_yaml(tmp_path: Path):
    first, second = tmp_path / "etc", tmp_path / "run"
    first.mkdir()
    (first / "a.json").write_text(json.dumps(document()))
    (first / "b.yaml").write_text("kind: amd.com/gpu\ndevices:\n- name: all\n  containerEdits: {env: [A=1]}\n")
    (first / "c.txt").write_text("not looked at")
    found = read_documents((str(first), str(second)))
    assert [item["kind"] for item in found] == ["nvidia.com/gpu", "amd.com/gpu"]
    assert find_edits(("amd.com/gpu=all",), found).env == ("A=1",)
    for content in ("kind: [", "a: &x [1]\nb: [*x, *x]\nkind: k\n", "[]", "!!python/object/apply:os.system [x]"):
        second.mkdir(exist_ok=True)
        (second / "bad.yaml").write_text(content)
        with pytest.raises(CarboyError) as caught:
            read_documents((str(first), str(second)))
        assert "bad.yaml" in caught.value.brief
