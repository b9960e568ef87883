"""Answers of web servers: asked for again where what went wrong may go right the next time."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx

TRIES = 3
_T = TypeVar("_T")
# Timeouts and "too many", which pass; so does what is wrong with a server itself, from 500 on.
_PASSING = frozenset({408, 425, 429})


class WebError(Exception):
    """An address that gives nothing, and why; it is for the one who asked to say what that means.

    ``status`` is what the server answered, 0 without an answer; what is ``passing`` may go right the next time.
    """

    def __init__(self, reason: str, *, status: int = 0, passing: bool = False) -> None:
        super().__init__(reason)
        self.status = status
        self.passing = passing


@contextmanager
def open_answer(client: httpx.Client, url: str, *, headers: Mapping[str, str]) -> Iterator[httpx.Response]:
    """Give what a server answers to GET, its body not read yet. Raises ``WebError``, also while the block reads it.

    An answer that passes is none; any other is given, whatever its status.
    """
    import httpx

    try:
        with client.stream("GET", url, headers=headers) as response:
            status = response.status_code
            if status in _PASSING or status >= 500:
                raise WebError(f"the server answers {status} {response.reason_phrase}", passing=True)
            yield response
    except httpx.TransportError as error:
        raise WebError(str(error) or type(error).__name__, passing=True) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise WebError(str(error) or type(error).__name__) from error


def retry(action: Callable[[], _T], *, sleep: Callable[[float], None]) -> _T:
    """Return what ``action`` returns, which is tried again after a pause where it raises a ``WebError`` that is passing.

    Raises the last one.
    """
    for attempt in range(1, TRIES + 1):
        try:
            return action()
        except WebError as error:
            if not error.passing or attempt == TRIES:
                raise
        sleep(0.4 * 2**attempt)
    raise AssertionError("the last attempt returns or raises")
