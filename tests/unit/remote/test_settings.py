"""Where registries are: config.toml, mirrors, folders of certificates."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from carboy.errors import CarboyError
from carboy.remote.settings import (
    Certificates,
    Endpoint,
    RegistrySettings,
    is_inside,
    is_loopback,
    parse_registries,
    plan_endpoint,
    plan_endpoints,
    read_certificates,
    split_port,
)

if TYPE_CHECKING:
    from pathlib import Path


def parse(text: str) -> dict[str, RegistrySettings]:
    return parse_registries(tomllib.loads(text)["registries"], path="config.toml")


def test_what_is_set() -> None:
    found = parse("""
        [registries."docker.io"]
        mirrors = ["mirror.example.com/hub", "http://10.0.0.1:5000"]
        [registries."own.example.com:5000"]
        ca = "/etc/own.pem"
        [registries."10.0.0.1:5000"]
        insecure = true
    """)
    assert found["own.example.com:5000"] == RegistrySettings(ca="/etc/own.pem")
    first, second, own = plan_endpoints("docker.io", found)
    assert first == Endpoint(registry="mirror.example.com", host="mirror.example.com", prefix="hub/", is_mirror=True)
    assert (second.host, second.prefix, second.insecure, second.is_mirror) == ("10.0.0.1:5000", "", True, True)
    assert own == Endpoint(registry="docker.io", host="registry-1.docker.io")
    (alone,) = plan_endpoints("other.example.com", found)
    assert alone == Endpoint(registry="other.example.com", host="other.example.com")


def test_another_name_of_the_hub_is_the_hub() -> None:
    assert parse('[registries."index.docker.io"]\nmirrors = ["m.example.com"]').keys() == {"docker.io"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("registries.a = 1", "must be a table"),
        ('[registries."a.example.com"]\nmirror = []', "has no 'mirror'"),
        ('[registries."a.example.com"]\nmirrors = "m"', "list of addresses"),
        ('[registries."a.example.com"]\nmirrors = [1]', "list of addresses"),
        ('[registries."a.example.com"]\nmirrors = ["https://u:p@m.example.com"]', "list of addresses"),
        ('[registries."a.example.com"]\nmirrors = ["m.example.com/../x?y"]', "list of addresses"),
        ('[registries."a.example.com"]\ninsecure = "yes"', "true or false"),
        ('[registries."a.example.com"]\nca = true', "path of a file"),
        ('[registries."https://a.example.com"]\ninsecure = true', "not the name of a registry"),
    ],
)
def test_what_is_not_understood(text: str, said: str) -> None:
    with pytest.raises(CarboyError, match=said) as caught:
        parse(text)
    assert caught.value.code == 125
    assert "config.toml: [registries." in caught.value.brief


def test_this_machine_needs_no_certificate_unless_one_is_named() -> None:
    assert plan_endpoint("localhost:5000", RegistrySettings()).insecure
    assert plan_endpoint("127.0.0.1:5000", RegistrySettings()).insecure
    assert plan_endpoint("[::1]:5000", RegistrySettings()).insecure
    assert not plan_endpoint("127.0.0.1:5000", RegistrySettings(ca="/ca.pem")).insecure
    assert not plan_endpoint("10.0.0.1:5000", RegistrySettings()).insecure
    assert not plan_endpoint("localhost.example.com", RegistrySettings()).insecure


def test_hosts() -> None:
    assert [split_port(h) for h in ("a:1", "[::1]:5", "[::1]", "::1", "a")] == ["a", "::1", "::1", "::1", "a"]
    assert is_loopback("127.8.0.1")
    assert not is_loopback("example.com")
    assert not is_inside("example.com")
    assert not is_inside("93.184.216.34")
    assert not is_inside("[2606:2800:220:1::1]:443")


def test_folders_of_certificates(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, names in ((one, ("b.crt", "a.crt", "me.cert", "me.key", "README")), (two, ("c.crt", "x.cert"))):
        (folder / "r.example.com:5000").mkdir(parents=True)
        for name in names:
            (folder / "r.example.com:5000" / name).write_text("")
    own = tmp_path / "own.pem"
    own.write_text("")
    endpoint = Endpoint(registry="r.example.com:5000", host="r.example.com:5000", ca=str(own))
    found = read_certificates(endpoint, (str(one), str(two), str(tmp_path / "none")))
    folder = f"{one}/r.example.com:5000"
    assert found.authorities == (str(own), f"{folder}/a.crt", f"{folder}/b.crt", f"{two}/r.example.com:5000/c.crt")
    assert found.own == (f"{folder}/me.cert", f"{folder}/me.key")
    other = Endpoint(registry="other.example.com", host="other.example.com")
    assert read_certificates(other, (str(one),)) == Certificates()
    gone = Endpoint(registry="r.example.com", host="r.example.com", ca=str(tmp_path / "gone.pem"))
    with pytest.raises(CarboyError, match="there is no file"):
        read_certificates(gone, ())
