"""Which networks a container may ask for, and what its keeper is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.base.home import Home
from carboy.containers.record import ContainerConfig
from carboy.engine.containers.network import (
    check_network,
    describe_network,
    find_default_network,
    find_name_servers,
    plan_networks,
)
from carboy.errors import CarboyError
from carboy.network import private


def config(**fields: object) -> ContainerConfig:
    return ContainerConfig(id="c" * 64, image="i", manifest="m", layers=(), created_at_s=0.0, args=("x",), **fields)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"network": "shopp"}, "there is no network shopp"),
        ({"network": "shop", "more_networks": (("nowhere",),)}, "there is no network nowhere"),
        ({"network": "shop", "more_networks": (("host",),)}, "cannot be on host and on shop"),
        ({"network": "private", "network_aliases": ("x",)}, "neither further names nor an address"),
        ({"network": "private", "network_ips": (("private", "10.90.0.9"),)}, "neither further names nor an address"),
        ({"network": "private", "network_aliases": ("x",), "more_networks": (("shop",),)}, "no further names"),
        ({"network": "none", "more_networks": (("shop",),)}, "cannot be on none and on shop"),
        ({"network": "shop", "more_networks": (("shop",),)}, "named twice"),
        ({"network": "container:web"}, "network namespace"),
        ({"network": "shop", "network_ips": (("shop", "10.90.1.9"),)}, "cannot be a container's on 10.90.0.0/24"),
        ({"network": "shop", "network_ips": (("shop", "10.90.0.1"),)}, "cannot be a container's"),
        ({"network": "shop", "network_ips": (("back", "10.90.1.9"),)}, "addresses of its own choice"),
        ({"network": "shop", "dns": ("192.0.2.1",)}, "the name servers of the machine"),
        ({"network": "host", "publish": ("80",)}, "no ports to publish"),
    ],
)
def test_what_cannot_be_is_refused(home: Home, fields: dict[str, object], told: str) -> None:
    with pytest.raises(CarboyError, match=told) as caught:
        check_network(config(**fields), home=home, tier="root")
    assert caught.value.code == 125


def test_networks_that_are_there_are_fine(home: Home) -> None:
    check_network(
        config(network="shop", network_aliases=("a",), more_networks=(("back", "b"),)), home=home, tier="root"
    )


def test_users_have_no_networks_of_their_own(home: Home) -> None:
    with pytest.raises(CarboyError, match="need root"):
        check_network(config(network="shop"), home=home, tier="subuid")


def test_a_container_answers_to_its_name_and_its_further_ones_on_each_network(home: Home) -> None:
    made = config(network="shop", network_aliases=("a",), more_networks=(("back", "b"),))
    values = describe_network(made, name="web", home=home, tier="root")
    assert values is not None
    assert values["own"] == [("shop", ["web", "a"], ""), ("back", ["web", "b"], "")]
    assert not values["private"]
    assert find_name_servers(made) == ("127.0.0.11",)


def test_what_needs_no_keeper_has_none(home: Home) -> None:
    assert describe_network(config(network="none"), name="x", home=home, tier="root") is None
    values = describe_network(config(network="private"), name="x", home=home, tier="root")
    assert values is not None
    assert (values["private"], values["own"]) == (True, [])
    both = config(network="private", more_networks=(("shop", "b"),), network_ips=(("shop", "10.90.0.9"),))
    check_network(both, home=home, tier="root")
    values = describe_network(both, name="x", home=home, tier="root")
    assert values is not None
    assert (values["private"], values["own"]) == (True, [("shop", ["x", "b"], "10.90.0.9")])
    assert find_name_servers(both) == ("127.0.0.11",)


def test_private_comes_first_of_several() -> None:
    assert plan_networks(("shop", "a"), (("bridge",), ("back", "b"))) == [("private",), ("shop", "a"), ("back", "b")]
    assert plan_networks(("default",), ()) == [("private",)]


class Asking:
    """What the default depends on: environment, home and tier."""

    def __init__(self, home: Home, tier: str = "root", **environ: str) -> None:
        self.home, self.environ = home, environ
        self.tier = type("Tier", (), {"name": tier})


@pytest.mark.parametrize(("means", "network"), [("bridge", "private"), ("pasta", "private"), (None, "none")])
def test_private_is_the_default_where_it_can_be_had(
    home: Home, monkeypatch: pytest.MonkeyPatch, means: str | None, network: str
) -> None:
    monkeypatch.setattr(private, "find_private_means", lambda tier: means)
    assert find_default_network(Asking(home)) == network  # type: ignore[arg-type]
    assert find_default_network(Asking(home), runtime="runsc") == "none"  # type: ignore[arg-type]


def test_the_homes_owner_has_the_say(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "find_private_means", lambda tier: "bridge")
    (Path(home.path) / "config.toml").write_text('network = "none"\n')
    assert find_default_network(Asking(home)) == "none"  # type: ignore[arg-type]
    assert find_default_network(Asking(home, CARBOY_NETWORK="bridge")) == "private"  # type: ignore[arg-type]
    with pytest.raises(CarboyError, match="cannot be the default") as caught:
        find_default_network(Asking(home, CARBOY_NETWORK="shop"))  # type: ignore[arg-type]
    assert caught.value.code == 125
