"""What makes a download work on this machine, for every RUN: certificates, and where pip and uv look for packages.

It reaches the step's environment, below whatever the Dockerfile says, and read-only mounts below /run/carboy, where no
image has anything; never a layer, a key or the history. The certificates are only passed on where the host's environment
names some: else an image's own count.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from carboy.base.credentials import find_credentials
from carboy.environments.host import read_index_config
from carboy.environments.indexes import plan_places

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

BUNDLE = "/run/carboy/ca.pem"
# A shorter one is shown: taken out of all that is printed, it would tell more about itself than it hides.
SHORTEST_SECRET_BYTES = 4
PACKAGES = "/run/carboy/packages"
_NAMED = ("SSL_CERT_FILE", "UV_CERT", "PIP_CERT", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_READERS = (
    "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "PIP_CERT", "GIT_SSL_CAINFO", "NODE_EXTRA_CA_CERTS",
)  # fmt: skip
_PIP = {"UV_DEFAULT_INDEX": "PIP_INDEX_URL", "UV_INDEX": "PIP_EXTRA_INDEX_URL", "UV_INSECURE_HOST": "PIP_TRUSTED_HOST"}
_KEPT_PIP = ("PIP_DEFAULT_TIMEOUT", "PIP_RETRIES", "PIP_NO_INDEX")


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSettings:
    """Variables for each RUN that has none of the name, and (source, target) of what is mounted for them."""

    env: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    binds: tuple[tuple[str, str], ...] = ()

    @property
    def hidden(self) -> list[bytes]:
        """What no output may show: the users and passwords of proxies and indexes."""
        return hide_credentials(value for _, value in self.env)


def hide_credentials(values: Iterable[str]) -> list[bytes]:
    """Return what of addresses in ``values`` no output may show; what is very short would only spoil it."""
    texts = (text.encode("utf-8", "surrogateescape") for text in find_credentials(values))
    return [text for text in texts if len(text) >= SHORTEST_SECRET_BYTES]


def read_host_settings(environ: Mapping[str, str]) -> HostSettings:
    """Return how this host downloads, from its environment and pip's configuration files."""
    if not environ:
        return HostSettings()
    indexes = read_index_config(environ)
    env, folders = plan_places(indexes, PACKAGES)
    env |= {pip: env[uv] for uv, pip in _PIP.items() if uv in env}
    if "UV_FIND_LINKS" in env:
        env["PIP_FIND_LINKS"] = env["UV_FIND_LINKS"].replace(",", " ")
    env |= {name: environ[name] for name in _KEPT_PIP if environ.get(name)}
    binds = list(folders)
    if indexes.ca_bundle is not None and any(environ.get(name) for name in _NAMED):
        binds.append((os.path.realpath(indexes.ca_bundle), BUNDLE))
        env |= dict.fromkeys(_READERS, BUNDLE)
    return HostSettings(env=tuple(sorted(env.items())), binds=tuple(binds))
