"""How the host's way to install packages reaches the step that installs: decided without a host."""

from __future__ import annotations

import pytest

from carboy.base.credentials import redact
from carboy.environments.indexes import (
    SYSTEM_BUNDLES,
    add_variables,
    check_variables,
    parse_pip_config,
    plan_indexes,
    plan_places,
)
from carboy.errors import CarboyError

PIP_FILE = (
    "[global]\nindex-url = https://a.example/simple\nextra-index-url =\n    https://b.example/x\n    file:///no/such\n"
)


def test_pip_files_become_uv_settings() -> None:
    config = plan_indexes({}, [PIP_FILE], existing=frozenset())
    assert dict(config.env) == {
        "UV_DEFAULT_INDEX": "https://a.example/simple",
        "UV_INDEX": "https://b.example/x",  # the folder is not there
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_uv_wins_over_pip_variables_and_those_over_files() -> None:
    environ = {"PIP_INDEX_URL": "https://p.example"}
    assert dict(plan_indexes(environ, [PIP_FILE], existing=frozenset()).env)["UV_DEFAULT_INDEX"] == "https://p.example"
    environ["UV_DEFAULT_INDEX"] = "https://u.example"
    assert dict(plan_indexes(environ, [PIP_FILE], existing=frozenset()).env)["UV_DEFAULT_INDEX"] == "https://u.example"


def test_later_files_win_and_install_over_global() -> None:
    texts = ["[global]\ncert = a\n[install]\ncert = b\n", "not a configuration file", "[global]\nproxy = c\n"]
    assert parse_pip_config(texts) == {"cert": "b", "proxy": "c"}


def test_folders_of_the_host_are_shown_where_they_exist() -> None:
    environ = {"PIP_INDEX_URL": "file:///srv/index/simple", "PIP_FIND_LINKS": "/srv/wheels /no/such"}
    config = plan_indexes(environ, [], existing=frozenset({"/srv/index/simple", "/srv/wheels"}))
    assert config.folders == ("/srv/index", "/srv/wheels")
    assert dict(config.env)["UV_FIND_LINKS"] == "/srv/wheels"


def test_folders_of_the_host_can_be_shown_elsewhere() -> None:
    environ = {
        "PIP_INDEX_URL": "file:///srv/my%20index/simple",
        "PIP_EXTRA_INDEX_URL": "https://a.example /srv/more/simple file:///srv/more/other",
        "PIP_FIND_LINKS": "/srv/wheels https://b.example/links",
    }
    existing = frozenset({"/srv/my index/simple", "/srv/more/simple", "/srv/more/other", "/srv/wheels"})
    env, places = plan_places(plan_indexes(environ, [], existing=existing), "/run/x")
    assert places == (("/srv/more", "/run/x/0"), ("/srv/my index", "/run/x/1"), ("/srv/wheels", "/run/x/2"))
    assert env["UV_DEFAULT_INDEX"] == "file:///run/x/1/simple"
    assert env["UV_INDEX"] == "https://a.example /run/x/0/simple file:///run/x/0/other"
    assert env["UV_FIND_LINKS"] == "/run/x/2,https://b.example/links"
    assert plan_places(plan_indexes({"UV_INDEX": "/gone"}, [], existing=frozenset()), "/x") == (
        {"UV_INDEX": "/gone"},
        (),
    )


def test_proxies_pass_and_nothing_of_the_hosts_own_places_does() -> None:
    environ = {"HTTPS_PROXY": "http://proxy.example:3128", "UV_CACHE_DIR": "/x", "UV_PYTHON": "3.9", "HOME": "/root"}
    assert dict(plan_indexes(environ, [], existing=frozenset()).env) == {"HTTPS_PROXY": "http://proxy.example:3128"}


def test_the_callers_certificates_come_before_the_systems() -> None:
    existing = frozenset({"/ca.pem", SYSTEM_BUNDLES[0]})
    assert plan_indexes({"SSL_CERT_FILE": "/ca.pem"}, [], existing=existing).ca_bundle == "/ca.pem"
    assert plan_indexes({"SSL_CERT_FILE": "/gone"}, [], existing=existing).ca_bundle == SYSTEM_BUNDLES[0]
    assert plan_indexes({}, [], existing=frozenset()).ca_bundle is None


def test_passwords_are_not_shown() -> None:
    assert redact("from https://ana:secret@a.example/simple and b") == "from https://***@a.example/simple and b"


def test_no_index_is_said_in_the_way_that_uv_knows() -> None:
    for value, there in (("1", False), ("true", False), ("0", True), ("", True)):
        config = plan_indexes({"PIP_NO_INDEX": value}, [], existing=frozenset())
        assert config.has_index == there
        assert not config.env
    assert not plan_indexes({}, ["[install]\nno-index = yes\n"], existing=frozenset()).has_index


def test_variables_in_addresses_of_indexes_reach_the_step_and_no_others() -> None:
    text = "-i https://${USER_1}:${TOKEN}@a.example/simple\nx @ git+https://${OTHER}@a.example/x\n"
    config = plan_indexes({}, [], existing=frozenset())
    environ = {"TOKEN": "secret", "USER_1": "me", "OTHER": "no", "HOME": "/root"}
    assert dict(add_variables(config, text, environ).env) == {"TOKEN": "secret", "USER_1": "me"}
    check_variables(add_variables(config, text, environ), text)
    with pytest.raises(CarboyError, match=r"\$\{TOKEN\}"):
        check_variables(add_variables(config, text, {"USER_1": "me"}), text)
