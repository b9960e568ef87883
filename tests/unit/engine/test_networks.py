"""Networks by name, and what it means for a container to be put on one or taken off it."""

from __future__ import annotations

import pytest

from carboy.base.home import Home
from carboy.cli.commands.network import filter_networks
from carboy.containers.record import ContainerConfig, ContainerState
from carboy.engine.containers.manage import ContainerView
from carboy.engine.networks import describe_view, find_view, list_views, plan_connect, plan_disconnect
from carboy.errors import CarboyError


def config(network: str, *aliases: str, more: tuple[tuple[str, ...], ...] = (), **fields: object) -> ContainerConfig:
    return ContainerConfig(
        id="c" * 64, image="i", manifest="m", layers=(), created_at_s=0.0, args=("x",), network=network,
        network_aliases=aliases, more_networks=more, **fields,
    )  # fmt: skip


def networks_of(made: ContainerConfig) -> list[tuple[str, ...]]:
    return [(made.network, *made.network_aliases), *made.more_networks]


@pytest.mark.parametrize(
    ("before", "network", "after"),
    [
        (config("none"), "shop", [("shop", "x")]),
        (config("private"), "shop", [("private",), ("shop", "x")]),
        (config("back", "b"), "shop", [("back", "b"), ("shop", "x")]),
        # The way out leads through `private` where a container has it: it comes first.
        (config("back", "b", more=(("shop", "s"),)), "private", [("private", "x"), ("back", "b"), ("shop", "s")]),
    ],
)
def test_a_container_joins_a_network(before: ContainerConfig, network: str, after: list[tuple[str, ...]]) -> None:
    assert networks_of(plan_connect(before, network, aliases=("x",), who="web")) == after


def test_an_address_goes_with_its_network() -> None:
    joined = plan_connect(config("back", network_ips=(("back", "10.90.1.9"),)), "shop", ip="10.90.0.9", who="web")
    assert joined.network_ips == (("back", "10.90.1.9"), ("shop", "10.90.0.9"))
    assert plan_disconnect(joined, "back", who="web").network_ips == (("shop", "10.90.0.9"),)


@pytest.mark.parametrize(
    ("before", "network", "told"),
    [
        (config("shop"), "shop", "web is on the network shop already"),
        (config("private", more=(("shop",),)), "shop", "already"),
        (config("host"), "shop", "beside host"),
        (config("shop"), "host", "beside host"),
        (config("shop"), "none", "beside none"),
    ],
)
def test_what_cannot_be_joined(before: ContainerConfig, network: str, told: str) -> None:
    with pytest.raises(CarboyError, match=told) as caught:
        plan_connect(before, network, who="web")
    assert caught.value.code == 125


def test_a_container_leaves_a_network_and_is_on_none_after_the_last() -> None:
    before = config("private", more=(("shop", "s"),))
    assert networks_of(plan_disconnect(before, "private", who="web")) == [("shop", "s")]
    assert networks_of(plan_disconnect(config("shop", "s"), "shop", who="web")) == [("none",)]
    with pytest.raises(CarboyError, match="not on the network back") as caught:
        plan_disconnect(before, "back", who="web")
    assert caught.value.hint == "it is on private, shop"
    with pytest.raises(CarboyError, match="taken off the network host"):
        plan_disconnect(config("host"), "host", who="web")


def test_networks_are_found_by_name_and_by_the_beginning_of_an_id(home: Home) -> None:
    views = list_views(home)
    assert [view.name for view in views] == ["none", "host", "private", "back", "shop"]
    assert find_view(home, "bridge").name == "private"
    shop = find_view(home, "shop")
    assert find_view(home, shop.id[:12]).name == "shop"
    with pytest.raises(CarboyError, match="there is no network shp") as caught:
        find_view(home, "shp")
    assert caught.value.hint == "did you mean shop?"
    with pytest.raises(CarboyError):
        find_view(home, shop.id[:3])


def test_filters(home: Home) -> None:
    def names(*filters: str) -> list[str]:
        return [view.name for view in filter_networks(list_views(home), filters)]

    assert names("type=custom") == ["back", "shop"]
    assert names("driver=null", "driver=host") == ["none", "host"]
    assert names("label=number=1") == ["back"]
    assert names("label=number", "name=sho") == ["shop"]
    assert names("scope=swarm") == []
    with pytest.raises(CarboyError, match="no filter") as caught:
        names("nope=1")
    assert caught.value.code == 2


def test_a_description_has_who_runs_there_with_addresses(home: Home) -> None:
    made = config("private", more=(("shop",),))
    state = ContainerState(status="running", addresses=("10.80.0.5", "fd00::5", "10.90.0.7"))
    containers = [ContainerView(config=made, state=state, name="web", folder="")]
    described = describe_view(find_view(home, "shop"), containers)
    assert described["IPAM"]["Config"] == [{"Subnet": "10.90.0.0/24", "Gateway": "10.90.0.1"}]
    assert described["Containers"]["c" * 64] == {
        "Name": "web", "MacAddress": "0a:ca:0a:5a:00:07", "IPv4Address": "10.90.0.7/24", "IPv6Address": "",
    }  # fmt: skip
    private = describe_view(find_view(home, "private"), containers)["Containers"]["c" * 64]
    assert (private["IPv4Address"], private["IPv6Address"]) == ("10.80.0.5/16", "fd00::5/64")
    assert describe_view(find_view(home, "back"), containers)["Containers"] == {}
