"""Addresses are chosen without touching the machine."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.errors import CarboyError
from carboy.network import addresses as a

networks = st.tuples(st.integers(0, 2**32 - 1), st.integers(5, 32)).map(
    lambda n: (n[0] >> (32 - n[1]) << (32 - n[1]), n[1])
)


@given(st.lists(networks, max_size=30), st.sampled_from([16, 24]))
def test_a_planned_subnet_overlaps_with_none(taken: list[a.Network], length: int) -> None:
    try:
        chosen = a.plan_subnet(taken, length=length)
    except CarboyError:
        return
    network = ipaddress.ip_network(a.format_subnet(chosen))
    assert network.is_private
    assert not any(network.overlaps(ipaddress.ip_network(a.format_subnet(other))) for other in taken)


def test_default_routes_take_nothing_and_a_vpn_takes_its_own() -> None:
    assert a.plan_subnet([(0, 0), (0, 1), (1 << 31, 1)], length=16) == a.plan_subnet([], length=16)
    assert a.format_subnet(a.plan_subnet([(10 << 24, 8)], length=16)).startswith("172.")
    everything = [(10 << 24, 8), a.parse_subnet("172.16.0.0/12"), a.parse_subnet("192.168.0.0/16")]
    assert a.format_subnet(a.plan_subnet(everything, length=16)) == "198.18.0.0/16"
    with pytest.raises(CarboyError, match="no private addresses"):
        a.plan_subnet([*everything, a.parse_subnet("198.18.0.0/15")], length=16)


@given(st.sets(st.integers(0, 255), max_size=255), st.text(max_size=20))
def test_a_container_gets_a_free_address_and_the_same_one_again(hosts: set[int], key: str) -> None:
    network = a.parse_subnet("10.5.6.0/24")
    taken = {network[0] + host for host in hosts}
    try:
        address = a.plan_address(network, taken, key=key)
    except CarboyError:
        assert hosts >= set(range(2, 255))
        return
    assert address not in taken
    assert 2 <= address - network[0] <= 254
    assert a.plan_address(network, taken, key=key) == address


@given(st.integers(0, 2**32 - 1))
def test_hardware_addresses_stand_for_addresses(number: int) -> None:
    assert a.decode_mac(a.encode_mac(a.INSIDE, number)) == number
    assert a.decode_mac(b"\x02" + bytes(5)) is None
    assert a.decode_ipv4(a.encode_ipv4(number)) == number
    ipaddress.ip_address(a.encode_ipv6(a.plan_prefix6((number & ~0xFF, 24), b"machine"), number))


@pytest.mark.parametrize(
    "text", ["", "10.0.0.0", "10.0.0.0/7", "10.0.0.0/30", "10.0.0.1/24", "a.b.c.d/24", "fd00::/64"]
)
def test_subnets_that_are_refused(text: str) -> None:
    with pytest.raises(CarboyError):
        a.parse_subnet(text)


def test_networks_that_were_made_and_private_look_in_places_of_their_own() -> None:
    private, made = a.plan_subnet([], length=16), a.plan_subnet([], length=24, key="/home/web")
    assert a.is_overlapping(private, a.PRIVATE_RANGE)
    assert a.is_overlapping(made, a.NETWORK_RANGE)
    assert not a.is_overlapping(a.PRIVATE_RANGE, a.NETWORK_RANGE)
    assert made == a.plan_subnet([], length=24, key="/home/web") != a.plan_subnet([], length=24, key="/home/db")
    assert a.plan_subnet([made], length=24, key="/home/web") != made


def test_addresses_that_a_container_can_ask_for() -> None:
    network = a.parse_subnet("10.5.0.0/29")
    assert a.parse_host("10.5.0.6", network) == network[0] + 6
    for text in ("10.5.0.0", "10.5.0.1", "10.5.0.7", "10.5.0.8", "10.5.0", "10.5.0.x", "fd00::1", ""):
        with pytest.raises(CarboyError) as caught:
            a.parse_host(text, network)
        assert caught.value.hint
