"""A difference's cause, told from the bytes on both sides."""

from __future__ import annotations

import gzip
import struct

import pytest

from carboy.comparison import reasons
from carboy.comparison.files import Aspect, FileDifference
from carboy.comparison.reasons import Surroundings, explain, explain_all, explain_content

NONE = Surroundings(values={})
AROUND = Surroundings(
    values={
        "the path of the folder": ("/home/me/project", "/elsewhere/copy"),
        "the name of the host": ("vm", "carboy-verify-elsewhere"),
        "the number of processors": ("2", "1"),
    }
)


def pyc(body: bytes, *, mtime: int = 0, flags: int = 0) -> bytes:
    return b"\xa7\r\r\n" + struct.pack("<III", flags, mtime, 10) + body


def gz(mtime: int) -> bytes:
    return gzip.compress(b"the same", mtime=mtime)


@pytest.mark.parametrize(
    ("path", "left", "right", "reason"),
    [
        (b"a", b"Sat Nov 28 14:31:13 UTC 2026\n", b"Sun Nov 29 09:01:02 UTC 2026\n", reasons.CLOCK),
        (b"a", b"built: 2026-11-28T14:31:13Z", b"built: 2026-11-28T14:31:14Z", reasons.CLOCK),
        (b"a", b"T=1795877321;", b"T=1795877325;", reasons.CLOCK),
        (b"a", b'{"at": 1795877321.25}', b'{"at": 1795877399.5}', reasons.CLOCK),
        (b"a", b"id 626b70f5c51ebad2\n", b"id f222275f4fda6609\n", reasons.RANDOM),
        (b"a", b"b54f7a3e-b347-4bdd-a79c-c8dc19cae77e", b"550704b7-4239-462e-a9d5-f41162be8c9a", reasons.RANDOM),
        (b"a", bytes(range(128, 192)), bytes(range(160, 224)), reasons.RANDOM),
        (b"a", b"loss 0.123\n", b"loss 0.124\n", reasons.NUMBER),
        (b"a", b"one\ntwo\nthree\n", b"three\none\ntwo\n", reasons.ORDER),
        (b"a", b'{"a": 1, "b": [2]}', b'{"b": [2], "a": 1}', reasons.KEYS),
        (b"a", b"apples", b"pears", reasons.UNKNOWN),
        (b"a", b"", b"pears", reasons.UNKNOWN),
        (b"a.gz", gz(1), gz(2), "gzip's header holds the time"),
        (b"a.pyc", pyc(b"x", mtime=1), pyc(b"x", mtime=2), "compiled Python holds the time of its source"),
        (b"a.pyc", pyc(b"x", mtime=1, flags=3), pyc(b"x", mtime=2, flags=3), "compiled Python holds its source's hash"),
        (b"a.pyc", pyc(b"x"), b"\xcb\r\r\n" + pyc(b"x")[4:], "compiled by another Python"),
        (b"a.pyc", pyc(b"x"), pyc(b"/elsewhere/copy"), "compiled Python: the path of the folder is written into it"),
        (b"a.pyc", b"", pyc(b"y"), "compiled by another Python"),
        (b"a", b"in /home/me/project", b"in /elsewhere/copy", "the path of the folder is written into it"),
        (b"a", b"on other-machine", b"on carboy-verify-elsewhere", "the name of the host is written into it"),
        (b"a", b"2\n", b"1\n", "the number of processors is written into it"),
        (b"a", b"jobs=2 of 22\n", b"jobs=1 of 22\n", "the number of processors is written into it"),
        (b"a", b"2 of 5\n", b"1 of 6\n", reasons.NUMBER),
        (b"var/log/x.log", b"apples", b"pears", reasons.UNKNOWN),
    ],
)  # fmt: skip
def test_causes(path: bytes, left: bytes, right: bytes, reason: str) -> None:
    found = explain_content(path, left, right, AROUND)
    assert found.partition(" (")[0] == reason


def test_what_differs_is_quoted_where_it_can_be_read() -> None:
    assert explain_content(b"a", b"x: apples", b"x: pears", NONE) == f"{reasons.UNKNOWN} (apples / pears)"
    assert explain_content(b"a", b"x: ap\x1bples", b"x: pea\x07rs", NONE) == reasons.UNKNOWN
    both = explain_content(b"a", b"1795877321 626b70f5c51ebad2", b"1795877329 f222275f4fda6609", NONE)
    assert both.startswith(f"{reasons.CLOCK}; {reasons.RANDOM} (1795877321 626b70f5c51ebad2 / ")


def test_a_difference_far_inside_is_found() -> None:
    filler = b"line of text\n" * 20_000
    assert explain_content(b"a", filler + b"1795877321\n" + filler, filler + b"1795877325\n" + filler, NONE).startswith(
        reasons.CLOCK
    )


def difference(path: bytes, *aspects: tuple[str, str, str]) -> FileDifference:
    return FileDifference(path=path, aspects=tuple(Aspect(name=n, left=a, right=b) for n, a, b in aspects))


def test_what_is_not_content() -> None:
    told = explain(difference(b"a", ("mode", "0644", "0600"), ("owner", "0:0", "7:7")), None, None, NONE)
    assert "umask" in told
    assert "owner" in told
    assert "SOURCE_DATE_EPOCH" in explain(difference(b"a", ("mtime", "x", "y")), None, None, NONE)
    assert "too far" in explain(difference(b"a", ("content", "x", "y")), None, None, NONE)
    assert explain(difference(b"a", ("kind", "file", "link")), None, None, NONE) == "it is of another kind"
    link = difference(b"a", ("target", "/home/me/project/x", "/elsewhere/copy/x"))
    assert explain(link, None, None, AROUND) == "the path of the folder is written into it"
    assert explain(difference(b"a", ("target", "b", "c")), None, None, AROUND) == "it points elsewhere"


def test_names_that_hold_a_time_or_a_random_value() -> None:
    found = explain_all(
        [
            difference(b"run-1795877321/log", ("presence", "file", "")),
            difference(b"run-1795877325/log", ("presence", "", "file")),
            difference(b"tmp.626b70f5c5", ("presence", "file", "")),
            difference(b"tmp.f222275f40", ("presence", "", "file")),
            difference(b"other-1795877321", ("presence", "file", "")),
            difference(b"var/log/apt.log", ("presence", "", "file")),
        ],
        {},
        {},
        NONE,
    )
    assert [one.reason for one in found] == [
        reasons.NAMED_TIME, reasons.NAMED_TIME, reasons.NAMED_RANDOM, reasons.NAMED_RANDOM, "",
        "a log or a cache that no image needs",
    ]  # fmt: skip
