"""Where the archive is and how to reach it: an option, else the host's own apt, else a public mirror."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.bootstrap.recipe import ALIASES, DEBIAN_SUITES
from carboy.bootstrap.sources import Source, parse_apt_conf, parse_deb822_sources, parse_sources_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.bootstrap.recipe import Recipe

PUBLIC_MIRROR = "https://mirrors.edge.kernel.org/debian"
_FILE_LIMIT = 1 << 20
_KINDS = ("", "-updates", "-security")


@dataclass(frozen=True, slots=True, kw_only=True)
class Suite:
    """One suite to read: its address and the name that its Release must be signed as; ``primary`` for the first."""

    uri: str
    name: str
    components: tuple[str, ...]
    primary: bool

    @property
    def url(self) -> str:
        """The address of the suite's directory."""
        return f"{self.uri}/dists/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveConfig:
    """How an archive is reached.

    ``mirror`` and ``security_mirror`` are addresses without a trailing slash (``security_mirror`` None: the neighbour
    of ``mirror``); ``security`` asks for the suites SUITE-updates and SUITE-security; ``keyrings`` are files (none:
    Debian's keys, which carboy brings); ``proxies`` maps "http", "https" or a host's name to a proxy's address ("" for
    direct); ``ca_file`` and ``ca_dir`` are the certificates to trust; ``reason`` says where the address is from.
    """

    mirror: str = PUBLIC_MIRROR
    security_mirror: str | None = None
    security: bool = True
    components: tuple[str, ...] = ("main",)
    keyrings: tuple[str, ...] = ()
    proxies: tuple[tuple[str, str], ...] = ()
    no_proxy: tuple[str, ...] = ()
    ca_file: str | None = None
    ca_dir: str | None = None
    check_valid_until: bool = True
    explicit: bool = False
    reason: str = "the public mirror"

    def plan_suites(self, recipe: Recipe) -> tuple[Suite, ...]:
        """Return the suites to read for ``recipe``, the primary one first."""
        main = Suite(uri=self.mirror, name=recipe.suite, components=self.components, primary=True)
        if not self.security:
            return (main,)
        security = self.security_mirror or derive_security_mirror(self.mirror)
        return (
            main,
            replace(main, name=f"{recipe.suite}-updates", primary=False),
            replace(main, uri=security, name=f"{recipe.suite}-security", primary=False),
        )


def derive_security_mirror(mirror: str) -> str:
    """Return where a mirror of Debian's archive keeps Debian's security archive: beside it, as "debian-security"."""
    return f"{mirror.rstrip('/')}-security"


def choose_source(sources: Sequence[Source], suite: str, *, kind: str = "") -> Source | None:
    """Return the host's source that is Debian's archive, preferring one that already has ``suite``. Pure.

    ``kind`` is "" or "-security". A foreign archive may carry a Debian suite's name ("stable main" is popular), so that
    an alias counts only at an address that ends in Debian's own directory name, and component main is needed always.
    """
    directory = "debian-security" if kind else "debian"
    found: list[tuple[int, Source]] = []
    for source in sources:
        named = (
            source.suite.removesuffix("/updates") + "-security" if source.suite.endswith("/updates") else source.suite
        )
        ending = next((k for k in reversed(_KINDS) if k and named.endswith(k)), "")
        base = named.removesuffix(ending)
        usual = source.uri.rpartition("/")[2] == directory
        known = base in DEBIAN_SUITES or (usual and (base in ALIASES or base in {"testing", "sid", "unstable"}))
        if source.uri.startswith(("http://", "https://")) and ending == kind and known and "main" in source.components:
            found.append(((base == suite) * 2 + usual, source))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def read_archive_config(
    environ: Mapping[str, str],
    etc_apt: str = "/etc/apt",
    *,
    suite: str = "bookworm",
    mirror: str | None = None,
    security: bool = True,
    keyrings: tuple[str, ...] = (),
) -> ArchiveConfig:
    """Return how this host reaches Debian's archive; ``mirror`` (an option) goes before what the host's apt says.

    The environment's proxies and certificates are honoured as apt, curl and pip do: a proxy of apt's own configuration
    goes first. Files that cannot be read are left out.
    """
    settings = _read_apt_conf(etc_apt)
    sources = _read_sources(etc_apt)
    address, beside, reason = PUBLIC_MIRROR, None, "the public mirror"
    chosen = choose_source(sources, suite)
    mirror = mirror or environ.get("CARBOY_MIRROR") or None
    if mirror:
        address, reason = mirror.rstrip("/"), "as asked for"
    elif chosen is not None:
        address, reason = chosen.uri, "the host's apt sources"
        source = choose_source(sources, suite, kind="-security")
        beside = source.uri if source else None
    return ArchiveConfig(
        mirror=address,
        security_mirror=beside,
        security=security,
        keyrings=keyrings,
        proxies=_find_proxies(environ, settings),
        no_proxy=_find_no_proxy(environ),
        ca_file=_first(environ, "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
        or settings.get("acquire::https::cainfo"),
        ca_dir=environ.get("SSL_CERT_DIR") or None,
        check_valid_until=settings.get("acquire::check-valid-until", "true").lower() not in {"false", "no", "0", "off"},
        explicit=bool(mirror),
        reason=reason,
    )


def _first(environ: Mapping[str, str], *names: str) -> str | None:
    return next((environ[name] for name in names if environ.get(name)), None)


def _find_proxies(environ: Mapping[str, str], settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    proxies: dict[str, str] = {}
    for scheme in ("http", "https"):
        # HTTP_PROXY in capitals is not read for http by anyone careful: a CGI client can set it (httpoxy).
        names = [f"{scheme}_proxy", "all_proxy", "ALL_PROXY"] + (["HTTPS_PROXY"] if scheme == "https" else [])
        configured = settings.get(f"acquire::{scheme}::proxy") or _first(environ, *names)
        if configured:
            proxies[scheme] = "" if configured.upper() == "DIRECT" else configured
        prefix = f"acquire::{scheme}::proxy::"
        for name, value in settings.items():
            if name.startswith(prefix) and value:
                proxies[name.removeprefix(prefix)] = "" if value.upper() == "DIRECT" else value
    return tuple(sorted(proxies.items()))


def _find_no_proxy(environ: Mapping[str, str]) -> tuple[str, ...]:
    text = _first(environ, "no_proxy", "NO_PROXY") or ""
    return tuple(part.strip().lstrip(".") for part in text.split(",") if part.strip())


def _read_apt_conf(etc_apt: str) -> dict[str, str]:
    settings: dict[str, str] = {}
    for path in [*_list_files(os.path.join(etc_apt, "apt.conf.d"), ""), os.path.join(etc_apt, "apt.conf")]:
        if os.path.splitext(path)[1] in {"", ".conf"} or path.endswith("/apt.conf"):
            settings.update(parse_apt_conf(_read_text(path)))
    return settings


def _read_sources(etc_apt: str) -> list[Source]:
    folder = os.path.join(etc_apt, "sources.list.d")
    sources = parse_sources_list(_read_text(os.path.join(etc_apt, "sources.list")))
    for path in _list_files(folder, ".list"):
        sources += parse_sources_list(_read_text(path))
    for path in _list_files(folder, ".sources"):
        sources += parse_deb822_sources(_read_text(path))
    return sources


def _list_files(folder: str, ending: str) -> list[str]:
    try:
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder)) if name.endswith(ending)]
    except OSError:
        return []


def _read_text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(_FILE_LIMIT)
    except OSError:
        return ""
