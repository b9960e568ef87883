"""Answers of servers that are asked again, and of those that are not."""

from __future__ import annotations

import pytest

from carboy.base.answers import TRIES, WebError, open_answer, retry
from carboy.base.web import WebSettings, make_client


def fail_with(error: WebError, *, times: int) -> tuple[list[float], str]:
    """Return the pauses that were made, and what came of it, where an action fails at first."""
    pauses: list[float] = []
    left = [error] * times

    def action() -> str:
        if left:
            raise left.pop()
        return "done"

    try:
        return pauses, retry(action, sleep=pauses.append)
    except WebError as raised:
        return pauses, str(raised)


def test_what_passes_is_tried_again_after_a_longer_pause_each_time() -> None:
    passing = WebError("busy", passing=True)
    assert fail_with(passing, times=0) == ([], "done")
    assert fail_with(passing, times=TRIES - 1) == ([0.8, 1.6], "done")
    assert fail_with(passing, times=TRIES) == ([0.8, 1.6], "busy")


def test_what_does_not_pass_is_not_tried_again() -> None:
    assert fail_with(WebError("gone", status=404), times=1) == ([], "gone")


@pytest.mark.parametrize(("url", "passing"), [("http://127.0.0.1:1/", True), ("http://example.org:port/", False)])
def test_addresses_that_do_not_answer(url: str, passing: bool) -> None:
    with (
        make_client(WebSettings()) as client,
        pytest.raises(WebError) as caught,
        open_answer(client, url, headers={}),
    ):
        pass
    assert (caught.value.passing, caught.value.status) == (passing, 0)
