"""The configuration of an image that is made of a container."""

from __future__ import annotations

from typing import Any

import pytest

from carboy.containers.record import ContainerConfig
from carboy.engine.containers.files.commit import plan_commit
from carboy.engine.containers.request import RunRequest, plan_config
from carboy.engine.launch import LaunchRecord
from carboy.oci.config import RunConfig


def make_container(request: RunRequest, **record: Any) -> ContainerConfig:
    values: dict[str, Any] = {"env": (), "entrypoint": (), "cmd": ("sh",), "workdir": "/", "user": "", **record}
    launch = LaunchRecord(manifest="sha256:a", layers=(), **values)
    return plan_config(request, launch, container_id="c" * 64, image="i", manifest="sha256:a", now_s=1.0)


def test_a_container_as_its_image_is() -> None:
    """What carboy adds to a container by itself is no part of the image."""
    assert plan_commit(RunConfig(Cmd=["sh"]), make_container(RunRequest(terminal=True))) == RunConfig(Cmd=["sh"])
    image = RunConfig(
        Env=["PATH=/bin", "HOSTNAME=x"], Cmd=["sh"], Shell=["/bin/ash", "-c"], StopSignal="INT", OnBuild=["USER x"]
    )
    container = make_container(RunRequest(), env=("PATH=/bin", "HOSTNAME=x"), stop_signal="INT")
    made = plan_commit(image, container)
    assert (set(made.Env or ()), made.Shell, made.StopSignal) == (
        {"PATH=/bin", "HOSTNAME=x"},
        ["/bin/ash", "-c"],
        "INT",
    )
    assert made.OnBuild is None


def test_what_was_asked_for() -> None:
    request = RunRequest(
        arguments=("b",), entrypoint=("a",), env=("A=1", "PATH=/mine"), user="me", workdir="/w", labels=(("k", "v"),),
        stop_signal="QUIT", health=("5", "6", "0", "1", "2", "/bin/sh", "-c", "true"),
    )  # fmt: skip
    made = plan_commit(RunConfig(Cmd=["sh"], Labels={"old": "x"}), make_container(request, labels=("old=x",)))
    assert made == RunConfig(
        Entrypoint=["a"], Cmd=["b"], Env=["PATH=/mine", "A=1"], User="me", WorkingDir="/w", Labels={"old": "x", "k": "v"},
        StopSignal="QUIT",
        Healthcheck={
            "Test": ["CMD-SHELL", "true"], "Interval": 5 * 10**9, "Timeout": 6 * 10**9, "StartPeriod": 0,
            "StartInterval": 10**9, "Retries": 2,
        },
    )  # fmt: skip


@pytest.mark.parametrize(("image", "expected"), [(None, None), ({"Test": ["CMD", "true"]}, {"Test": ["NONE"]})])
def test_a_health_check_that_was_switched_off(image: dict[str, Any] | None, expected: dict[str, Any] | None) -> None:
    container = make_container(RunRequest(health=()))
    assert plan_commit(RunConfig(Cmd=["sh"], Healthcheck=image), container).Healthcheck == expected
