"""From what was asked for to the container."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.containers.record import DEFAULT_STOP_SIGNAL
from carboy.engine.containers.request import DEFAULT_PATH, RunRequest, plan_config
from carboy.engine.launch import LaunchRecord
from carboy.errors import CarboyError


def make_record(**fields: Any) -> LaunchRecord:
    values: dict[str, Any] = {"manifest": "sha256:0", "layers": ("sha256:1",), "cmd": ("sh",)}
    values |= {"env": (), "entrypoint": (), "workdir": "", "user": ""}
    return LaunchRecord(**{**values, **fields})


def plan(request: RunRequest, term: str = "xterm", **fields: Any) -> Any:
    return plan_config(
        request, make_record(**fields), container_id="ab" * 32, image="web", manifest="sha256:0", now_s=1.0, term=term
    )


@pytest.mark.parametrize(
    ("image", "asked", "args"),
    [
        ({"cmd": ("sh",)}, {}, ("sh",)),
        ({"cmd": ("sh",)}, {"arguments": ("ls", "-l")}, ("ls", "-l")),
        ({"cmd": ("x",), "entrypoint": ("run",)}, {}, ("run", "x")),
        ({"cmd": ("x",), "entrypoint": ("run",)}, {"arguments": ("y",)}, ("run", "y")),
        ({"cmd": ("x",), "entrypoint": ("run",)}, {"entrypoint": ("sh",)}, ("sh",)),
        ({"cmd": ("x",), "entrypoint": ("run",)}, {"entrypoint": ("sh",), "arguments": ("z",)}, ("sh", "z")),
        ({"cmd": ("x",), "entrypoint": ("run",)}, {"entrypoint": ("",), "arguments": ("z",)}, ("z",)),
    ],
)
def test_the_command_is_docker_s(image: dict[str, Any], asked: dict[str, Any], args: tuple[str, ...]) -> None:
    assert plan(RunRequest(**asked), **image).args == args


@pytest.mark.parametrize("asked", [{}, {"entrypoint": ("",)}])
def test_no_command_at_all_is_told(asked: dict[str, Any]) -> None:
    with pytest.raises(CarboyError, match="no command") as error:
        plan(RunRequest(**asked), cmd=())
    assert error.value.code == 125


def test_the_environment_is_laid_down_in_order() -> None:
    request = RunRequest(env=("A=2", "C=", "PATH=/x"), terminal=True)
    env = dict(item.split("=", 1) for item in plan(request, env=("A=1", "B=1"), term="vt100").env)
    assert env == {"PATH": "/x", "HOSTNAME": ("ab" * 32)[:12], "TERM": "vt100", "A": "2", "B": "1", "C": ""}
    assert f"PATH={DEFAULT_PATH}" in plan(RunRequest()).env


@given(st.lists(st.from_regex(r"[A-Z]{1,2}=[a-z=]{0,3}", fullmatch=True), max_size=12))
def test_a_variable_has_one_value_the_last(items: list[str]) -> None:
    env = [item.partition("=")[::2] for item in plan(RunRequest(env=tuple(items))).env]
    assert len({name for name, _ in env}) == len(env)
    assert dict(env).items() >= dict(item.partition("=")[::2] for item in items).items()


def test_labels_of_both_and_the_callers_win() -> None:
    config = plan(RunRequest(labels=(("b", "2"), ("c", "3"))), labels=("a=1", "b=1"))
    assert dict(config.labels) == {"a": "1", "b": "2", "c": "3"}


def test_the_image_s_own_settings_stand_until_others_are_asked_for() -> None:
    image = {"user": "ana", "workdir": "/srv", "stop_signal": "SIGINT", "health": ("5", "3", "2", "1", "4", "/check")}
    config = plan(RunRequest(), **image)
    assert (config.user, config.workdir, config.stop_signal, config.health_test) == (
        "ana", "/srv", "SIGINT", ("/check",),
    )  # fmt: skip
    assert (config.health_interval_s, config.health_timeout_s, config.health_start_s, config.health_retries) == (
        5, 3, 2, 4,
    )  # fmt: skip
    assert config.health_start_interval_s == 1
    other = plan(RunRequest(user="0", workdir="/", stop_signal="SIGQUIT", health=()), **image)
    assert (other.user, other.workdir, other.stop_signal, other.health_test) == ("0", "/", "SIGQUIT", ())
    assert plan(RunRequest()).stop_signal == DEFAULT_STOP_SIGNAL


def test_zeros_in_a_health_check_are_docker_s_defaults() -> None:
    config = plan(RunRequest(health=("0.0", "0.0", "0.0", "0.0", "0", "/check")))
    assert (config.health_interval_s, config.health_timeout_s, config.health_start_s, config.health_retries) == (
        30, 30, 0, 3,
    )  # fmt: skip
    assert config.health_start_interval_s == 5


def test_all_exposed_ports_are_published_when_that_is_asked_for() -> None:
    assert plan(RunRequest(publish=("80:80",), publish_all=True), exposed=("81/tcp",)).publish == ("80:80", "81/tcp")
    assert plan(RunRequest(publish=("80:80",)), exposed=("81/tcp",)).publish == ("80:80",)
