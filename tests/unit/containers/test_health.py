"""When a container is well."""

from __future__ import annotations

import marshal
import os
import socket
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.containers.health import KEPT_RESULTS, OUTPUT_BYTES, Health, plan_health, plan_wait
from carboy.containers.record import ContainerState
from carboy.runtime.loop import Loop


def plan(before: str, failures: int, exit_code: int, **given_: float) -> tuple[str, int]:
    values = {"retries": 3, "since_start_s": 100.0, "start_period_s": 0.0, **given_}
    return plan_health(before, failures=failures, exit_code=exit_code, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "failures", "exit_code", "after"),
    [
        ("starting", 0, 0, ("healthy", 0)), ("unhealthy", 9, 0, ("healthy", 0)), ("healthy", 2, 0, ("healthy", 0)),
        ("starting", 0, 1, ("starting", 1)), ("starting", 2, 1, ("unhealthy", 3)), ("healthy", 1, 1, ("healthy", 2)),
        ("healthy", 2, -1, ("unhealthy", 3)), ("unhealthy", 3, 1, ("unhealthy", 4)),
    ],
)  # fmt: skip
def test_the_rules(before: str, failures: int, exit_code: int, after: tuple[str, int]) -> None:
    assert plan(before, failures, exit_code) == after


def test_failures_in_the_start_period_do_not_count_until_it_was_well_once() -> None:
    early = {"since_start_s": 5.0, "start_period_s": 10.0}
    assert plan("starting", 0, 1, **early) == ("starting", 0)
    assert plan("healthy", 2, 1, **early) == ("unhealthy", 3)
    assert plan("starting", 0, 0, **early) == ("healthy", 0)


@pytest.mark.parametrize(
    ("health", "since_start_s", "start_period_s", "wait_s"),
    [
        ("starting", 0, 20, 1),
        ("starting", 19, 20, 1),
        ("starting", 20, 20, 30),
        ("healthy", 3, 20, 30),
        ("starting", 0, 0, 30),
    ],
)
def test_a_container_that_starts_is_asked_more_often(
    health: str, since_start_s: float, start_period_s: float, wait_s: float
) -> None:
    times = {"interval_s": 30.0, "start_interval_s": 1.0, "since_start_s": since_start_s}
    assert plan_wait(health, start_period_s=start_period_s, **times) == wait_s


@given(codes=st.lists(st.integers(0, 3)), retries=st.integers(1, 5))
def test_unhealthy_means_so_many_failures_in_a_row(codes: list[int], retries: int) -> None:
    health, failures = "starting", 0
    for index, code in enumerate(codes):
        health, failures = plan(health, failures, code, retries=retries)
        row = 0
        for earlier in reversed(codes[: index + 1]):
            if earlier == 0:
                break
            row += 1
        assert failures == row
        assert (health == "unhealthy") is (row >= retries)


class ScriptedKeeper:
    """Stands for the keeper: the checks end as the script says."""

    def __init__(self, *script: Any) -> None:
        self.state = ContainerState(status="running")
        self.script = list(script)
        self.notes: list[str] = []
        self.reports: list[socket.socket] = []

    def change(self, **fields: Any) -> None:
        self.state = self.state.replace(**fields)

    def note(self, action: str, **attributes: str) -> None:
        self.notes.append(attributes["health"])

    def run_inside(self, process: dict[str, Any], *, report: int, fds: dict[int, int]) -> None:
        assert process == {"args": ["/check"]}
        step = self.script.pop(0)
        if not self.script:
            self.change(status="paused")  # no more checks
        if isinstance(step, OSError):
            raise step
        talk = socket.socket(fileno=os.dup(report))
        if step == "hang":
            self.reports.append(talk)
            return
        code, output = step
        os.write(fds[1], output)
        talk.send(marshal.dumps(("exit", code)))
        talk.close()


def check_all(keeper: ScriptedKeeper, **job: Any) -> None:
    """Let all checks of the script be made, one right after the other."""
    loop = Loop()
    values = {
        "test": ["/check"],
        "interval_s": 0,
        "timeout_s": 60,
        "start_s": 0,
        "start_interval_s": 0,
        "retries": 2,
        **job,
    }
    health = Health(values, keeper=keeper, loop=loop)  # type: ignore[arg-type]
    assert keeper.state.health == "starting"
    for _ in range(200):
        loop.step(0)
    assert keeper.script == []
    health.stop()
    health.stop()


def test_a_container_becomes_well_and_unwell() -> None:
    keeper = ScriptedKeeper((0, b"fine"), (1, b"bad"), (1, b"worse"))
    check_all(keeper)
    assert keeper.notes == ["healthy", "unhealthy"]
    assert [(code, output) for _, _, code, output in keeper.state.health_log] == [
        (0, "fine"), (1, "bad"), (1, "worse"),
    ]  # fmt: skip


def test_the_start_interval_counts_until_the_container_is_well() -> None:
    keeper = ScriptedKeeper((1, b""), (0, b""), (0, b"never"))
    loop = Loop()
    job = {"test": ["/check"], "interval_s": 600, "timeout_s": 60, "start_s": 60, "start_interval_s": 0, "retries": 1}
    health = Health(job, keeper=keeper, loop=loop)  # type: ignore[arg-type]
    for _ in range(50):
        loop.step(0)
    health.stop()
    assert keeper.notes == ["healthy"]
    assert len(keeper.script) == 1, "from then on the interval counts"


def test_a_check_that_hangs_fails_and_is_ended() -> None:
    keeper = ScriptedKeeper("hang")
    check_all(keeper, timeout_s=0, retries=1)
    assert keeper.state.health == "unhealthy"
    assert keeper.state.health_log[0][2] == -1
    assert "longer than" in keeper.state.health_log[0][3]
    assert keeper.reports[0].recv(1) == b"", "whoever runs the check hears that nobody waits for it"
    keeper.reports[0].close()


def test_output_and_results_are_bounded() -> None:
    keeper = ScriptedKeeper(*[(0, b"x" * 30_000)] * (KEPT_RESULTS + 2))
    check_all(keeper)
    assert len(keeper.state.health_log) == KEPT_RESULTS
    assert all(len(output) <= OUTPUT_BYTES for _, _, _, output in keeper.state.health_log)


def test_a_check_that_cannot_be_started_is_a_failure_and_not_the_end_of_the_keeper() -> None:
    keeper = ScriptedKeeper(OSError(11, "Resource temporarily unavailable"), (0, b""))
    check_all(keeper, retries=1)
    assert keeper.notes == ["unhealthy", "healthy"]
    assert "temporarily" in keeper.state.health_log[0][3]
