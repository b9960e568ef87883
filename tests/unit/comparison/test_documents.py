"""Configurations and lists of packages, compared for people."""

from __future__ import annotations

import json

from carboy.attest.packages import Package
from carboy.comparison.documents import compare_configs, compare_packages


def config(**more: object) -> bytes:
    return json.dumps({"architecture": "amd64", "os": "linux", "rootfs": {"diff_ids": []}, **more}).encode()


def test_settings_are_named_by_their_place() -> None:
    left = config(
        config={"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "Labels": {"io.carboy.lock": "a==1 --hash=x\nb==1\n"}}
    )
    right = config(
        config={
            "Env": ["A=2", "PATH=/bin"],
            "Cmd": ["sh", "-c"],
            "Labels": {"io.carboy.lock": "a==2 --hash=x\nb==1\n"},
        },
        created="2026-01-01T00:00:00Z",
        history=[{"created_by": "x"}],
        rootfs={"diff_ids": ["sha256:0"]},
    )
    assert {(one.name, one.left, one.right) for one in compare_configs(left, right)} == {
        ("config.Env.A", "1", "2"),
        ("config.Cmd", '["sh"]', '["sh", "-c"]'),
        ("config.Labels.io.carboy.lock.a", "a==1 --hash=x", "a==2 --hash=x"),
        ("created", "", "2026-01-01T00:00:00Z"),
        ("history[0].created_by", "", "x"),
    }


def test_the_record_of_an_archive_is_looked_into() -> None:
    def labelled(date_s: int) -> bytes:
        record = json.dumps({"suite": "bookworm", "suites": [{"name": "bookworm", "date_s": date_s}]})
        return config(config={"Labels": {"io.carboy.archive": record}})

    (found,) = compare_configs(labelled(1), labelled(2))
    assert (found.name, found.left, found.right) == ("config.Labels.io.carboy.archive.suites[0].date_s", "1", "2")
    broken = config(config={"Labels": {"io.carboy.archive": "{"}})
    assert [one.name for one in compare_configs(broken, config())] == ["config.Labels.io.carboy.archive"]


def test_packages() -> None:
    left = [Package(kind="deb", name="jq", version="1.6"), Package(kind="pypi", name="six", version="1")]
    right = [
        Package(kind="deb", name="jq", version="1.7", licence="MIT"),
        Package(kind="pypi", name="idna", version="3"),
        Package(kind="pypi", name="idna", version="2"),
    ]
    found = [(one.what, one.name, one.left, one.right) for one in compare_packages(left, right)]
    assert found == [("changed", "jq", "1.6", "1.7"), ("added", "idna", "", "2, 3"), ("removed", "six", "1", "")]
