from __future__ import annotations

import subprocess
import sys

import pytest

from carboy.base.web import WebSettings, make_client, make_tls_context, plan_proxies, read_web_settings
from carboy.errors import CarboyError


def test_settings_are_those_of_curl_and_pip() -> None:
    found = read_web_settings(
        {
            "http_proxy": "proxy.example.com:3128",
            "HTTP_PROXY": "http://evil.example.com",  # httpoxy: a client of a CGI program can set it
            "HTTPS_PROXY": "http://secure.example.com:3128",
            "no_proxy": "localhost, .example.org ,10.0.0.0/8",
            "SSL_CERT_FILE": "/ca.pem",
        }
    )
    assert found.proxies == (("http", "proxy.example.com:3128"), ("https", "http://secure.example.com:3128"))
    assert found.no_proxy == ("localhost", "example.org", "10.0.0.0/8")
    assert (found.ca_file, found.ca_dir) == ("/ca.pem", None)


def test_a_proxy_without_a_scheme_is_http_and_hosts_of_no_proxy_are_reached_directly() -> None:
    web = WebSettings(proxies=(("http", "proxy:3128"),), no_proxy=("example.org:8080", "10.0.0.0/8"))
    assert plan_proxies(web) == {
        "http://": "http://proxy:3128",
        "all://example.org": "",
        "all://*.example.org": "",
    }


def test_a_star_in_no_proxy_is_everything() -> None:
    assert plan_proxies(WebSettings(proxies=(("https", "http://proxy"),), no_proxy=("*",))) == {}


def test_certificates_that_cannot_be_read_are_named(tmp_path) -> None:
    path = tmp_path / "ca.pem"
    path.write_text("no certificate")
    with pytest.raises(CarboyError, match="the certificates in") as caught:
        make_tls_context(WebSettings(ca_file=str(path)))
    assert "SSL_CERT_FILE" in caught.value.hint


def test_a_client_takes_nothing_else_of_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example.com:3128")
    with make_client(WebSettings()) as client:
        assert client._mounts == {}


def test_httpx_comes_without_its_command_line() -> None:
    """Which imports click and rich where they are, and takes longer than a request."""
    text = (
        "import sys; from carboy.base.web import load_httpx; load_httpx(); load_httpx(); import httpx; "
        "print(sorted({'rich', 'click', 'httpx._main'} & sys.modules.keys()), httpx.Client.__name__)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "[] Client\n"
