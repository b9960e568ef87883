"""How this host installs Python packages, for the sandbox that does it: pure.

pip's and uv's own settings, proxies and certificates are what makes an installation work in a company. They reach the
step's environment, never a layer, a cache key or the history; secrets in them stay in the environment.
"""

from __future__ import annotations

import configparser
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import quote, unquote, urlsplit

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")  # as pip has them
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
_CERTIFICATES = ("SSL_CERT_FILE", "UV_CERT", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
SYSTEM_BUNDLES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
# uv's settings that name places of the host, which the sandbox does not have, or that would change how it is built.
_NOT_PASSED = frozenset(
    {
        "UV_CACHE_DIR",
        "UV_NO_CACHE",
        "UV_LINK_MODE",
        "UV_PYTHON",
        "UV_PROJECT_ENVIRONMENT",
        "UV_TOOL_DIR",
        "UV_CONFIG_FILE",
        "UV_TARGET",
        "UV_CERT",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexConfig:
    """The environment of the installing step, the host's folders to show to it (read-only), and its CA bundle.

    Without an index (pip's ``no-index``) there is nothing but what ``UV_FIND_LINKS`` names; uv has no variable that says so.
    """

    env: tuple[tuple[str, str], ...]
    folders: tuple[str, ...]
    ca_bundle: str | None
    has_index: bool = True


def parse_pip_config(texts: Sequence[str]) -> dict[str, str]:
    """Return pip's options from the texts of its configuration files, later ones over earlier; [install] over [global]."""
    options: dict[str, str] = {}
    for text in texts:
        parser = configparser.RawConfigParser(strict=False)
        try:
            parser.read_string(text)
        except configparser.Error:
            continue  # pip itself will have told its user
        for section in ("global", "install"):
            if parser.has_section(section):
                options |= {name.replace("_", "-"): value.strip() for name, value in parser.items(section)}
    return options


def plan_indexes(environ: Mapping[str, str], pip_texts: Sequence[str], *, existing: frozenset[str]) -> IndexConfig:
    """Return how to install, from the host's environment and pip's files; ``existing`` are the paths that are there.

    uv's variables win over pip's variables, and those over pip's files. pip looks at all of its indexes for the best
    version, so indexes that come from pip are searched in that way.
    """
    pip = parse_pip_config(pip_texts)
    pip |= {k[4:].lower().replace("_", "-"): v for k, v in environ.items() if k.startswith("PIP_") and v}
    env = {k: v for k, v in environ.items() if k in _PROXIES}
    has_index = True
    if pip.get("proxy"):
        env |= {"HTTP_PROXY": pip["proxy"], "HTTPS_PROXY": pip["proxy"]}
    if "index-url" in pip:
        env["UV_DEFAULT_INDEX"] = pip["index-url"]
    if "extra-index-url" in pip:
        env["UV_INDEX"] = " ".join(url for url in pip["extra-index-url"].split() if _is_usable(url, existing))
        env["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if "find-links" in pip:
        env["UV_FIND_LINKS"] = ",".join(place for place in pip["find-links"].split() if _is_usable(place, existing))
    if pip.get("no-index", "").lower() in {"1", "true", "yes", "on"}:
        has_index = False
    if "trusted-host" in pip:
        env["UV_INSECURE_HOST"] = " ".join(pip["trusted-host"].split())
    env |= {k: v for k, v in environ.items() if k.startswith("UV_") and k not in _NOT_PASSED}
    env = {k: v for k, v in env.items() if v}
    indexes = f"{env.get('UV_INDEX', '')} {env.get('UV_DEFAULT_INDEX', '')}".split()
    links = env.get("UV_FIND_LINKS", "").replace(",", " ").split()
    local = {path for place in links if (path := find_local_path(place)) in existing and path is not None}
    # An index links to its files by relative addresses, and they lie beside it.
    local |= {
        path.rpartition("/")[0]
        for place in indexes
        if (path := find_local_path(place)) in existing and path is not None
    }
    folders = tuple(sorted(local - {""}))
    candidates = [environ[name] for name in _CERTIFICATES if environ.get(name)]
    candidates += [pip["cert"]] if "cert" in pip else []
    bundle = next((path for path in (*candidates, *SYSTEM_BUNDLES) if path in existing), None)
    return IndexConfig(env=tuple(sorted(env.items())), folders=folders, ca_bundle=bundle, has_index=has_index)


def add_variables(config: IndexConfig, requirements: str, environ: Mapping[str, str]) -> IndexConfig:
    """Return the configuration with the variables that options of requirements name: ``--index-url https://${TOKEN}@HOST``.

    uv puts their values in, as pip does; what is kept anywhere has their names.
    """
    named = {name: environ[name] for name in _find_variables(requirements) if name in environ}
    return replace(config, env=tuple(sorted((named | dict(config.env)).items())))


def check_variables(config: IndexConfig, requirements: str) -> None:
    """Raise ``CarboyError`` where options of requirements name a variable that is not set: uv would ask for its name."""
    for name in _find_variables(requirements):
        if name not in dict(config.env):
            raise CarboyError(
                f"the address of an index has ${{{name}}}, and there is no such variable",
                hint=f"set {name} in the environment of this command",
            )


def _find_variables(requirements: str) -> list[str]:
    return [name for line in requirements.splitlines() if line.startswith("-") for name in _VARIABLE.findall(line)]


def plan_places(config: IndexConfig, below: str) -> tuple[dict[str, str], tuple[tuple[str, str], ...]]:
    """Return the environment with its local folders moved to places ``below`` a folder, and (folder, place) of each.

    A place that no image has is in nobody's way: a step may remove /opt where the host's folder is /opt/wheels.
    """
    places = {folder: f"{below}/{number}" for number, folder in enumerate(config.folders)}
    env = dict(config.env)
    for name in ("UV_FIND_LINKS", "UV_INDEX", "UV_DEFAULT_INDEX"):
        if name in env:
            is_index = name != "UV_FIND_LINKS"
            words = env[name].split() if is_index else env[name].replace(",", " ").split()
            env[name] = (" " if is_index else ",").join(_move(word, places, is_index=is_index) for word in words)
    return env, tuple(places.items())


def _move(word: str, places: Mapping[str, str], *, is_index: bool) -> str:
    """Return a place of packages as it is to be named in the sandbox: an index lies in its folder, links are theirs."""
    path = find_local_path(word)
    if path is None:
        return word
    folder, _, name = path.rpartition("/") if is_index else (path, "", "")
    if folder not in places:
        return word
    moved = "/".join([places[folder], *([name] if name else [])])
    return f"file://{quote(moved)}" if word.startswith("file://") else moved


def find_local_path(place: str) -> str | None:
    """Return the host's folder that an index or a find-links place means, None for an address."""
    if place.startswith("file://"):
        return unquote(urlsplit(place).path).rstrip("/")
    return place.rstrip("/") if place.startswith("/") else None


def _is_usable(place: str, existing: frozenset[str]) -> bool:
    path = find_local_path(place)
    return path is None or path in existing


def candidate_paths(environ: Mapping[str, str], pip_texts: Sequence[str]) -> set[str]:
    """Return the host's paths that :func:`plan_indexes` wants to know the existence of."""
    texts = " ".join(
        [*parse_pip_config(pip_texts).values(), *(v for k, v in environ.items() if k.startswith(("PIP_", "UV_")))]
    )
    places = {path for place in texts.replace(",", " ").split() if (path := find_local_path(place)) is not None}
    return places | {environ[name] for name in _CERTIFICATES if environ.get(name)} | set(SYSTEM_BUNDLES)
