"""When a container starts again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.containers.restart import FIRST_DELAY_S, LAST_DELAY_S, STEADY_S, check_policy, plan_restart, plan_resume
from carboy.errors import CarboyError

POLICIES = st.sampled_from(["no", "always", "unless-stopped", "on-failure", "on-failure:0", "on-failure:3"])


def plan(policy: str, **given_: object) -> float:
    values = {"exit_code": 1, "restarts": 0, "ran_s": 0.0, "last_delay_s": 0.0, "stopped": False}
    return plan_restart(policy, **{**values, **given_})  # type: ignore[arg-type]


@pytest.mark.parametrize("policy", ["no", "always", "unless-stopped", "on-failure", "on-failure:5"])
def test_policies(policy: str) -> None:
    check_policy(policy)


@pytest.mark.parametrize(
    "policy", ["", "never", "always:3", "on-failure:", "on-failure:-1", "on-failure:x", "Always", "on-failure:²"]
)
def test_no_policies(policy: str) -> None:
    with pytest.raises(CarboyError, match="no restart policy"):
        check_policy(policy)


@given(policy=POLICIES, exit_code=st.integers(0, 255), restarts=st.integers(0, 9))
def test_what_a_person_stopped_stays_down(policy: str, exit_code: int, restarts: int) -> None:
    assert plan(policy, exit_code=exit_code, restarts=restarts, stopped=True) < 0


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarts", "again"),
    [
        ("no", 1, 0, False), ("always", 0, 0, True), ("always", 9, 99, True), ("unless-stopped", 0, 5, True),
        ("on-failure", 0, 0, False), ("on-failure", 1, 99, True), ("on-failure:2", 1, 1, True),
        ("on-failure:2", 1, 2, False), ("on-failure:2", 0, 0, False), ("on-failure:0", 1, 99, True),
    ],
)  # fmt: skip
def test_who_starts_again(policy: str, exit_code: int, restarts: int, again: bool) -> None:
    assert (plan(policy, exit_code=exit_code, restarts=restarts) >= 0) is again


def test_the_wait_doubles_up_to_a_minute() -> None:
    delays = [0.0]
    for _ in range(15):
        delays.append(plan("always", last_delay_s=delays[-1]))
    assert delays[1:4] == [FIRST_DELAY_S, 2 * FIRST_DELAY_S, 4 * FIRST_DELAY_S]
    assert delays[-1] == LAST_DELAY_S


@given(last_delay_s=st.floats(0, LAST_DELAY_S), ran_s=st.floats(STEADY_S, 1e6))
def test_the_wait_begins_anew_after_a_steady_run(last_delay_s: float, ran_s: float) -> None:
    assert plan("always", last_delay_s=last_delay_s, ran_s=ran_s) == FIRST_DELAY_S


@pytest.mark.parametrize(
    ("policy", "status", "stopped", "same_boot", "starts"),
    [
        ("always", "exited", False, False, True),
        ("always", "exited", True, False, True),  # as Docker: until its daemon starts
        ("always", "exited", True, True, False),
        ("always", "exited", False, True, True),  # its keeper was killed
        ("always", "created", False, False, False),
        ("unless-stopped", "exited", False, False, True),
        ("unless-stopped", "exited", True, False, False),
        ("on-failure", "exited", False, False, False),
        ("no", "exited", False, False, False),
    ],
)
def test_what_is_resumed_after_a_boot(
    policy: str, status: str, *, stopped: bool, same_boot: bool, starts: bool
) -> None:
    assert plan_resume(policy, status=status, stopped=stopped, same_boot=same_boot) == starts
