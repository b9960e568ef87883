"""Published ports: what Docker's users write, and what is refused with a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.errors import CarboyError
from carboy.network.ports import PortMapping, find_conflicts, parse_publish

ports = st.integers(1, 65_535)
addresses = st.one_of(st.ip_addresses(v=4).map(str), st.ip_addresses(v=6).map(lambda a: f"[{a}]"))


def one(text: str) -> PortMapping:
    (mapping,) = parse_publish(text)
    return mapping


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("80", PortMapping(container_port=80)),
        ("8080:80", PortMapping(host_port=8080, container_port=80)),
        (":80", PortMapping(container_port=80)),
        ("8080:53/udp", PortMapping(host_port=8080, container_port=53, protocol="udp")),
        ("8080:80/TCP", PortMapping(host_port=8080, container_port=80)),
        ("0.0.0.0:8080:80", PortMapping(host_ip="0.0.0.0", host_port=8080, container_port=80)),
        ("127.0.0.1::80", PortMapping(container_port=80)),
        ("[::1]:8080:80", PortMapping(host_ip="::1", host_port=8080, container_port=80)),
        ("[0:0::1]::80/udp", PortMapping(host_ip="::1", container_port=80, protocol="udp")),
        ("8000-8010:80", PortMapping(host_port=8000, host_last=8010, container_port=80)),
    ],
)
def test_what_people_write(text: str, expected: PortMapping) -> None:
    assert one(text) == expected


def test_row_102_the_default_address_is_loopback_only() -> None:
    assert one("8080:80").host_ip == "127.0.0.1"
    assert one("80").host_ip == "127.0.0.1"


def test_ranges_are_paired() -> None:
    found = parse_publish("8000-8002:80-82/udp")
    assert [(m.host_port, m.container_port, m.protocol) for m in found] == [
        (8000, 80, "udp"),
        (8001, 81, "udp"),
        (8002, 82, "udp"),
    ]
    assert [m.host_port for m in parse_publish("80-81")] == [0, 0]


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "::", "a", "80:", "80:b", "0", "80:0", "65536", "80:65536", "1.2.3:80:80", "localhost:80:80", "::1:80:80",
        "[::1:80:80", "[::1]80:80", "[::1]:80:80:80", "[g::]:80:80", "1.2.3.4:80", ":80:80", "80/sctp", "80/", "80/tcp/udp",
        "8000-8001:80-82", "81-80", "80-:80", "-80:80", "0-5:80", "80:0-5", "-1", "+80", " 80", "٨٠", "1.2.3.04:80:80",
        "256.1.1.1:1:1",
    ],
)  # fmt: skip
def test_what_is_refused_says_why(text: str) -> None:
    with pytest.raises(CarboyError) as caught:
        parse_publish(text)
    assert caught.value.code == 125
    assert caught.value.details
    assert caught.value.hint


@given(address=addresses, host=ports, container=ports, protocol=st.sampled_from(["tcp", "udp"]))
def test_a_mapping_reads_its_own_text(address: str, host: int, container: int, protocol: str) -> None:
    mapping = one(f"{address}:{host}:{container}/{protocol}")
    assert (mapping.host_port, mapping.container_port, mapping.protocol) == (host, container, protocol)
    assert one(str(mapping)) == mapping


@given(st.text(alphabet="0123456789:-[]./tcpud", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for mapping in parse_publish(text):
            assert 1 <= mapping.container_port <= 65_535
            assert 0 <= mapping.host_port <= mapping.host_last <= 65_535
    except CarboyError:
        pass


def test_conflicts_are_told() -> None:
    mappings = (
        *parse_publish("8080:80"),
        *parse_publish("8080:81"),
        *parse_publish("8080:82/udp"),
        *parse_publish("80"),
    )
    assert find_conflicts(mappings) == ["127.0.0.1 port 8080/tcp is published twice"]
    assert not find_conflicts(parse_publish("8080:80") + parse_publish("8080:80"))


def test_a_mapping_is_frozen() -> None:
    with pytest.raises(AttributeError):
        one("80").host_port = 1
