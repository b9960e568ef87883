"""DNS messages: what is read back is what was written, and nothing that arrives is trusted."""

from __future__ import annotations

import contextlib
import ipaddress
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.network.dns import messages as m

labels = st.text(alphabet="abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
names = st.lists(labels, min_size=1, max_size=5).map(".".join)


def query(name: str, kind: int = m.A, *, identity: int = 7, flags: int = 0x0100) -> bytes:
    return struct.pack(">HHHHHH", identity, flags, 1, 0, 0, 0) + m.encode_name(name) + struct.pack(">HH", kind, 1)


@given(names, st.integers(0, 65_535), st.sampled_from([m.A, m.AAAA, m.PTR, 16]))
def test_a_query_is_read(name: str, identity: int, kind: int) -> None:
    question = m.parse_question(query(name.upper(), kind, identity=identity))
    assert (question.name, question.kind, question.id) == (name, kind, identity)


@given(st.binary(max_size=600))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    try:
        m.parse_question(data)
    except ValueError:
        assert len(m.encode_error(data, m.FORMERR)) in {0, 12}


@given(names, st.binary(max_size=40), st.integers(0, 40))
def test_a_damaged_query_is_read_or_refused(name: str, noise: bytes, where: int) -> None:
    good = query(name)
    with contextlib.suppress(ValueError):
        m.parse_question(good[:where] + noise + good[where + len(noise) :])


def test_an_answer_has_its_question_and_its_records() -> None:
    question = m.parse_question(query("web", m.ANY))
    answer = m.encode_response(question, m.NOERROR, addresses=["10.5.0.2", "fd00::2"])
    identity, flags, questions, records, _, _ = struct.unpack_from(">HHHHHH", answer)
    assert (identity, questions, records) == (7, 1, 2)
    assert flags == 0x8000 | 0x0400 | 0x0100 | 0x0080
    assert answer.endswith(ipaddress.ip_address("fd00::2").packed)
    assert ipaddress.ip_address("10.5.0.2").packed in answer
    assert m.is_answer_to(answer, identity=7, section=question.section)
    assert not m.is_answer_to(answer, identity=8, section=question.section)
    assert not m.is_answer_to(query("web", m.ANY), identity=7, section=question.section)


@pytest.mark.parametrize(
    "data",
    [
        query("a", flags=0x8000), query("a", flags=0x1000), query("a")[:-1], query("a")[:12] + b"\xc0\x0c\0\1\0\1",
        query("a")[:5] + b"\2" + query("a")[6:], query("a")[:-1] + b"\3", query("a") + bytes(1300),
    ],
)  # fmt: skip
def test_what_is_no_query_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError):
        m.parse_question(data)


@given(st.ip_addresses())
def test_reverse_names(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> None:
    assert ipaddress.ip_address(m.parse_reverse(address.reverse_pointer)) == address
    assert m.parse_reverse("web") == m.parse_reverse("1.2.in-addr.arpa") == ""


@pytest.mark.parametrize("name", ["a..b", "x" * 64, "ü", ".".join(["x" * 50] * 6)])
def test_names_that_dns_cannot_carry(name: str) -> None:
    with pytest.raises(ValueError):
        m.encode_name(name)
