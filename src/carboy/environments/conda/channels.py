"""Channels: what they are called in files, and their addresses here. Pure.

Files and locks have names (docs/adr/0004); ``[conda]`` in config.toml says where a name is, for mirrors, logins and channels of
one's own::

    [conda]
    conda-forge = "https://mirror.example.org/conda-forge"
    ours = "file:///srv/channel"
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from carboy.errors import CarboyError

if TYPE_CHECKING:
    from collections.abc import Mapping

PUBLIC = "https://conda.anaconda.org"
DEFAULT = "conda-forge"
# Anaconda's own channels, in the forms that files have.
_ANACONDA = re.compile(r"defaults|main|anaconda|pkgs/\w+|https?://repo\.anaconda\.com(/.*)?", re.ASCII)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9._-]+)*", re.ASCII)
_ADDRESS = re.compile(r"(https?://[^/\s]+|file:///)\S*", re.ASCII)
_SECRET = re.compile(r"://[^/]*@|/t/[^/]+/", re.ASCII)


def name_channel(text: str, *, where: str) -> str:
    """Return what a channel is called: its name, or its address where it has none.

    Raises ``CarboyError`` that names the file ``where`` for a login in it, which would go into locks, and for what is neither.
    """
    address = text.strip().rstrip("/")
    for start in (f"{PUBLIC}/", f"http{PUBLIC.removeprefix('https')}/"):
        address = address.removeprefix(start)
    if _SECRET.search(f"{address}/"):
        raise CarboyError(
            f"{where} has a login in the address of a channel",
            hint="give the channel a name there, and write its address into [conda] of config.toml",
        )
    if not (_NAME.fullmatch(address) or _ADDRESS.fullmatch(address)):
        raise CarboyError(
            f"{where}: {text[:100]!r} is no channel", hint="name one (conda-forge), or write https://... or file:///..."
        )
    return address


def split_address(url: str, *, where: str) -> tuple[str, str]:
    """Return (channel, path in it) of a package's address. Raises ``CarboyError``."""
    head, _, file = url.partition("#")[0].rpartition("/")
    channel, _, subdir = head.rpartition("/")
    if not channel or not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)?", subdir):
        raise CarboyError(
            f"{where}: {url[:200]!r} is no package of a channel", hint="write the lock anew with its tool"
        )
    return name_channel(channel, where=where), f"{subdir}/{file}"


def find_address(channel: str, addresses: Mapping[str, str]) -> str:
    """Return the address of a channel, without a slash at its end; ``addresses`` are config.toml's. Raises ``CarboyError``."""
    if channel in addresses:
        return addresses[channel]
    if _ANACONDA.fullmatch(channel):
        raise CarboyError(
            f"the channel {channel} is Anaconda's, which asks organisations for a licence",
            hint=f'use {DEFAULT} instead, or say where it is for you: [conda] in config.toml, {channel} = "https://..."',
        )
    return channel if "://" in channel else f"{PUBLIC}/{channel}"


def parse_addresses(table: Mapping[str, Any], *, where: str) -> dict[str, str]:
    """Return the addresses of ``[conda]`` by channel. Raises ``CarboyError`` (125)."""
    for name, address in table.items():
        if not isinstance(address, str) or not _ADDRESS.fullmatch(address):
            raise CarboyError(
                f"{where}: conda.{name} is no address", hint=f'write {name} = "https://..." or "file:///..."', code=125
            )
    return {name: address.rstrip("/") for name, address in table.items()}
