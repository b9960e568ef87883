"""Which network the installing step has: decided by addresses, before anything is started."""

from __future__ import annotations

import pytest

from carboy.environments.reach import Reach, choose_network, find_hosts, find_proxies

ADDRESSES = {
    "index.org": ["198.51.100.7"], "proxy.corp": ["198.51.100.9"], "devpi": ["127.0.1.1"], "six.only": ["2001:db8::1"],
    "both.corp": ["198.51.100.3", "10.0.0.5"],
}  # fmt: skip
MACHINES = {"127.0.0.1", "127.0.1.1", "10.0.0.5", "::1"}


def choose(hosts: list[str], **changes: object) -> Reach:
    known = {
        "means": "bridge",
        "name_servers": ["198.51.100.1"],
        "resolve": lambda host: ADDRESSES.get(host, [host] if host[0].isdigit() or ":" in host else []),
        "is_machines": lambda address: address in MACHINES,
        "is_reachable": lambda address: address not in MACHINES and ":" not in address,
    }
    return choose_network(hosts, **(known | changes))  # type: ignore[arg-type]


def test_what_can_be_reached_from_there_is_private() -> None:
    assert choose([]).network == choose(["index.org", "198.51.100.9"]).network == "private"
    assert choose(["unknown.invalid"]).network == "private"


@pytest.mark.parametrize(
    ("hosts", "told"),
    [
        (["index.org", "127.0.0.1"], "127.0.0.1 is this machine"),
        (["devpi"], r"devpi \(127.0.1.1\) is this machine"),
        (["both.corp"], r"both.corp \(10.0.0.5\)"),
        (["six.only"], "does not lead to six.only"),
    ],
)
def test_what_cannot_is_on_the_hosts_network(hosts: list[str], told: str) -> None:
    reach = choose(hosts)
    assert reach.network == "host"
    with pytest.raises(ValueError, match=told):
        raise ValueError(reach.reason)


def test_no_private_network_and_no_name_server_there() -> None:
    assert choose([], means=None, missing=["no tun", "no pasta"]) == Reach(
        network="host", reason="there is no private network here: no tun; no pasta"
    )
    assert choose(["index.org"], name_servers=[]).reason == "the name servers are on this machine"


@pytest.mark.parametrize(
    ("env", "requirements", "hosts"),
    [
        ({}, "numpy\n", []),
        ({"UV_DEFAULT_INDEX": "http://user:pw@devpi:3141/root/+simple"}, "numpy", ["devpi"]),
        ({"UV_DEFAULT_INDEX": "https://a.b/simple", "UV_INDEX": "corp=https://c.d/s file:///x/y"}, "", ["a.b", "c.d"]),
        ({"UV_NO_INDEX": "1", "UV_FIND_LINKS": "/opt/wheels,http://[::1]:80/w"}, "", ["::1"]),
        ({"UV_NO_INDEX": "1"}, "x @ http://10.0.0.5/x.whl\ny @ git+https://g.h/y.git@1", ["10.0.0.5", "g.h"]),
        # By a proxy nothing is reached but the proxy, unless it is passed by.
        ({"HTTPS_PROXY": "http://proxy.corp:3128"}, "numpy", ["proxy.corp"]),
        ({"https_proxy": "127.0.0.1:3128", "UV_INDEX": "http://plain/s"}, "", ["127.0.0.1", "plain"]),
        (
            {"ALL_PROXY": "http://p", "no_proxy": "corp, .x", "UV_DEFAULT_INDEX": "https://i.corp/s"},
            "",
            ["p", "i.corp"],
        ),
    ],
)
def test_hosts_that_are_needed(env: dict[str, str], requirements: str, hosts: list[str]) -> None:
    assert find_hosts(env, requirements) == hosts


def test_proxies() -> None:
    found = find_proxies(
        {"HTTP_PROXY": "http://a:1", "https_proxy": "b:2", "no_proxy": "c", "all_proxy": "", "X_PROXY": "d"}
    )
    assert found == {"http": "a", "https": "b"}
