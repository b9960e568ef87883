"""Where an archive is and how to reach it: an option, config.toml, the host's own apt, else a public mirror."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from carboy.base.web import WebSettings, find_ca_file, find_no_proxy, find_proxy
from carboy.bootstrap.distributions import DISTRIBUTIONS, find_distribution
from carboy.bootstrap.errors import BootstrapError
from carboy.bootstrap.recipe import ArchiveSettings, Recipe
from carboy.bootstrap.sources import Source, parse_apt_conf, parse_deb822_sources, parse_sources_list

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from carboy.bootstrap.distributions import Distribution

PUBLIC_MIRROR = DISTRIBUTIONS["debian"].mirror
NO_SETTINGS = ArchiveSettings()
_DEBIAN = Recipe()
_FILE_LIMIT = 1 << 20
_KINDS = ("", "-updates", "-security")
_ASKED, _CONFIGURED = "as asked for", "as config.toml has it"


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
class ArchiveConfig(WebSettings):
    """How an archive is reached.

    ``mirror`` and ``security_mirror`` are addresses without a trailing slash (``security_mirror`` None: the neighbour
    of ``mirror``, or itself); ``security`` asks for the suites SUITE-updates and SUITE-security; ``keyrings`` are files,
    for Alpine folders (none: Debian's keys, which carboy brings); ``explicit`` says that somebody named the address,
    ``reason`` where it is from.
    """

    mirror: str = PUBLIC_MIRROR
    security_mirror: str | None = None
    security: bool = True
    components: tuple[str, ...] = ("main",)
    keyrings: tuple[str, ...] = ()
    check_valid_until: bool = True
    explicit: bool = False
    reason: str = "the public mirror"

    def plan_suites(self, recipe: Recipe) -> tuple[Suite, ...]:
        """Return the suites to read for ``recipe``, the primary one first."""
        main = Suite(uri=self.mirror, name=recipe.suite, components=self.components, primary=True)
        if not self.security:
            return (main,)
        if not recipe.known.security:
            return (main,)
        beside = recipe.known.security == "beside"
        security = self.security_mirror or (derive_security_mirror(self.mirror) if beside else self.mirror)
        return (
            main,
            replace(main, name=f"{recipe.suite}-updates", primary=False),
            replace(main, uri=security, name=f"{recipe.suite}-security", primary=False),
        )


def derive_security_mirror(mirror: str) -> str:
    """Return where a mirror of Debian's archive keeps Debian's security archive: beside it, as "debian-security"."""
    return f"{mirror.rstrip('/')}-security"


def choose_source(
    sources: Sequence[Source], suite: str, *, kind: str = "", known: Distribution = DISTRIBUTIONS["debian"]
) -> Source | None:
    """Return the host's source that is the distribution's archive, preferring one that already has ``suite``. Pure.

    ``kind`` is "" or "-security". A foreign archive may carry a Debian suite's name ("stable main" is popular), so that
    an alias counts only at an address that ends in the archive's own directory name, and component main is needed always.
    """
    beside = "-security" if kind and known.security == "beside" else ""
    directories = {f"{name}{beside}" for name in known.directories}
    found: list[tuple[int, Source]] = []
    for source in sources:
        named = (
            source.suite.removesuffix("/updates") + "-security" if source.suite.endswith("/updates") else source.suite
        )
        ending = next((k for k in reversed(_KINDS) if k and named.endswith(k)), "")
        base = named.removesuffix(ending)
        usual = source.uri.rpartition("/")[2] in directories
        fits = base in known.suites or (usual and (base in known.aliases or base in known.unversioned))
        if source.uri.startswith(("http://", "https://")) and ending == kind and fits and "main" in source.components:
            found.append(((base == suite) * 2 + usual, source))
    return max(found, key=lambda pair: pair[0])[1] if found else None


def read_archive_config(
    environ: Mapping[str, str],
    etc_apt: str = "/etc/apt",
    *,
    recipe: Recipe = _DEBIAN,
    mirror: str | None = None,
    security: bool = True,
    settings: ArchiveSettings = NO_SETTINGS,
) -> ArchiveConfig:
    """Return how this host reaches the archive of a recipe.

    ``mirror`` (an option) goes before what ``settings`` (of config.toml) say, these before what the host's apt says, and
    that before the distribution's public mirror. The environment's proxies and certificates are honoured as apt, curl and
    pip do: a proxy of apt's own configuration goes first. Files that cannot be read are left out.
    """
    known = find_distribution(recipe.distribution)
    conf = _read_apt_conf(etc_apt)
    address, beside, reason = _choose_address(environ, etc_apt, recipe=recipe, mirror=mirror, settings=settings)
    return ArchiveConfig(
        mirror=address,
        security_mirror=beside,
        security=security and settings.security,
        components=settings.components or known.components,
        keyrings=settings.keyrings or _find_keyrings(known),
        proxies=_find_proxies(environ, conf),
        no_proxy=find_no_proxy(environ),
        ca_file=find_ca_file(environ) or conf.get("acquire::https::cainfo"),
        ca_dir=environ.get("SSL_CERT_DIR") or None,
        check_valid_until=conf.get("acquire::check-valid-until", "true").lower() not in {"false", "no", "0", "off"},
        explicit=reason in {_ASKED, _CONFIGURED},
        reason=reason,
    )


def _choose_address(
    environ: Mapping[str, str], etc_apt: str, *, recipe: Recipe, mirror: str | None, settings: ArchiveSettings
) -> tuple[str, str | None, str]:
    """Return the archive's address, that of its security updates (None: as the distribution has it), and why."""
    known = recipe.known
    # The variable names one address, and has always been Debian's.
    mirror = mirror or (environ.get("CARBOY_MIRROR") if known.name == "debian" else None)
    if mirror:
        return mirror.rstrip("/"), None, _ASKED
    if settings.mirror:
        beside = settings.security_mirror
        return settings.mirror.rstrip("/"), beside.rstrip("/") if beside else None, _CONFIGURED
    if known.format == "deb" and (not known.ports_mirror or known.find_mirror(recipe.architecture) == known.mirror):
        sources = _read_sources(etc_apt)
        chosen = choose_source(sources, recipe.suite, known=known)
        if chosen is not None:
            source = choose_source(sources, recipe.suite, kind="-security", known=known)
            return chosen.uri, source.uri if source else None, "the host's apt sources"
    return known.find_mirror(recipe.architecture), None, "the public mirror"


def _find_keyrings(known: Distribution) -> tuple[str, ...]:
    """Return the host's own keys of a distribution whose keys carboy does not bring; none where it has none."""
    return () if known.brought or not os.path.exists(known.keyring) else (known.keyring,)


def check_keyrings(archive: ArchiveConfig, known: Distribution) -> None:
    """Raise ``BootstrapError`` where nothing says which keys sign the archive of a distribution."""
    if known.brought or archive.keyrings:
        return
    what = "a folder of its public keys" if known.format == "apk" else "a file of its keys"
    raise BootstrapError(
        f"the keys that {known.title}'s archive is signed with are not known here",
        details=f"there is no {known.keyring}",
        hint=f"install the package {known.keyring_package}, or name {what} in config.toml of the home:\n"
        f'[archives.{known.name}]\nkeyring = "/path/of/it"',
    )


def _find_proxies(environ: Mapping[str, str], settings: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    proxies: dict[str, str] = {}
    for scheme in ("http", "https"):
        configured = settings.get(f"acquire::{scheme}::proxy") or find_proxy(environ, scheme)
        if configured:
            proxies[scheme] = "" if configured.upper() == "DIRECT" else configured
        prefix = f"acquire::{scheme}::proxy::"
        for name, value in settings.items():
            if name.startswith(prefix) and value:
                proxies[name.removeprefix(prefix)] = "" if value.upper() == "DIRECT" else value
    return tuple(sorted(proxies.items()))


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
