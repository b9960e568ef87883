"""How this machine reaches the web: the proxies and certificates of its settings, as curl and pip read them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.errors import CarboyError

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    import httpx

CONNECT_TIMEOUT_S = 15.0
READ_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSettings:
    """``proxies`` maps "http", "https" or a host's name to a proxy's address ("" for direct); ``no_proxy`` are hosts.

    ``ca_file`` and ``ca_dir`` are the certificates to trust, None for the system's.
    """

    proxies: tuple[tuple[str, str], ...] = ()
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None
    ca_dir: str | None = None


def read_web_settings(environ: Mapping[str, str]) -> WebSettings:
    """Return what the variables of the environment say."""
    proxies = {scheme: find_proxy(environ, scheme) for scheme in ("http", "https")}
    return WebSettings(
        proxies=tuple((scheme, proxy) for scheme, proxy in proxies.items() if proxy),
        no_proxy=find_no_proxy(environ),
        ca_file=find_ca_file(environ),
        ca_dir=environ.get("SSL_CERT_DIR") or None,
    )


def find_proxy(environ: Mapping[str, str], scheme: str) -> str | None:
    """Return the proxy for addresses of a scheme, "http" or "https"."""
    # HTTP_PROXY in capitals is not read for http by anyone careful: a CGI client can set it (httpoxy).
    names = [f"{scheme}_proxy", "all_proxy", "ALL_PROXY"] + (["HTTPS_PROXY"] if scheme == "https" else [])
    return _first(environ, *names)


def find_no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Return the hosts that are reached without a proxy."""
    text = _first(environ, "no_proxy", "NO_PROXY") or ""
    return tuple(part.strip().lstrip(".") for part in text.split(",") if part.strip())


def find_ca_file(environ: Mapping[str, str]) -> str | None:
    """Return the file of certificates that the environment names."""
    return _first(environ, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def plan_proxies(web: WebSettings) -> dict[str, str]:
    """Return the proxies ("" for none) by httpx's patterns ("http://", "all://host"). Pure."""
    plan: dict[str, str] = {}
    for name, proxy in web.proxies:
        address = proxy if "://" in proxy or not proxy else f"http://{proxy}"
        plan[f"{name}://" if name in {"http", "https"} else f"all://{name}"] = address
    for name in web.no_proxy:
        if name == "*":
            return {}
        host = name.rpartition(":")[0] if name.rpartition(":")[2].isdigit() and name.count(":") == 1 else name
        if "/" not in host:  # networks ("10.0.0.0/8") need an address, and archives have names
            plan[f"all://{host}"] = ""
            plan[f"all://*.{host}"] = ""
    return plan


def make_tls_context(web: WebSettings) -> ssl.SSLContext:
    """Return a context that trusts the host's certificates, or those that the host's settings name instead.

    Raises ``CarboyError`` for certificates that cannot be read.
    """
    import ssl

    try:
        if web.ca_file or web.ca_dir:
            directory = web.ca_dir if web.ca_dir and os.path.isdir(web.ca_dir) else None
            return ssl.create_default_context(cafile=web.ca_file, capath=directory)
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509_ca"] and not os.path.isdir(ssl.get_default_verify_paths().capath or ""):
            import certifi

            context.load_verify_locations(certifi.where())
    except (OSError, ssl.SSLError) as error:
        raise CarboyError(
            f"the certificates in {web.ca_file or web.ca_dir} cannot be read",
            details=str(error),
            hint="SSL_CERT_FILE names a file of PEM certificates; unset it to use the system's",
        ) from error
    return context


def load_httpx() -> None:
    """Import httpx without its command line, which would bring click and rich along wherever both are installed."""
    command_line = "httpx._main"
    if "httpx" in sys.modules:
        return
    # What makes an import fail; httpx reckons with that.
    sys.modules[command_line] = None  # type: ignore[assignment]
    try:
        __import__("httpx")
    finally:
        del sys.modules[command_line]


def make_client(
    web: WebSettings, *, context: ssl.SSLContext | None = None, connections: int = 16, follow_redirects: bool = True
) -> httpx.Client:
    """Return a client that goes by these settings and by nothing else of the environment; for any thread.

    ``context`` stands for the one of the settings; ``connections`` are kept open. Raises as :func:`make_tls_context`.
    """
    load_httpx()
    import httpx

    context = context or make_tls_context(web)
    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections // 2)
    return httpx.Client(
        verify=context,
        mounts={
            pattern: httpx.HTTPTransport(proxy=proxy, verify=context, limits=limits) if proxy else None
            for pattern, proxy in plan_proxies(web).items()
        },
        limits=limits,
        timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
        follow_redirects=follow_redirects,
        trust_env=False,
        headers={"User-Agent": "carboy", "Accept-Encoding": "identity"},
    )
