"""Where apt finds packages in a RUN: the host's mirror, while the image's sources are those that carboy wrote into its base.

A base names the public mirror, because a layer says nothing of the host that made it; a host may reach another one only: that of
``[archives]`` in config.toml of the home, else of its own apt. So
apt is given a configuration of its own for the step (APT_CONFIG, apt.conf(5)), with the host's sources in place of the base's
and beside what else the image has. A step that works on its sources itself is left alone.

Where there is one id, apt cannot become the user that it downloads as, and checks that it did: it is told to stay root.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from carboy.runtime.spec import FileMount
from carboy.snapshots.merged import MergedRoot, find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from carboy.bootstrap.archive import ArchiveConfig
    from carboy.bootstrap.recipe import ArchiveSettings

PARTS = "/etc/apt/sources.list.d"
_CONFIG = "/run/carboy/apt.conf"
_PARTS = "/run/carboy/sources.list.d"
_MAX_BYTES = 2**16


@dataclass(frozen=True, slots=True, kw_only=True)
class AptSettings:
    """What a step gets: files, and a variable. ``addresses`` are those of the host's settings in them."""

    files: tuple[FileMount, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    addresses: tuple[str, ...] = ()


def read_apt_settings(
    trees: Sequence[str],
    words: Sequence[str],
    environ: Mapping[str, str],
    *,
    bundle: str,
    single: bool,
    find_settings: Callable[[str], ArchiveSettings] | None = None,
) -> AptSettings:
    """Return the settings for a step of ``words`` on an image.

    ``find_settings`` says what the home's configuration has of a distribution's archive, ``bundle`` is where the step has the
    host's certificates, or "", and ``single`` says that there is one id.
    """
    own = _read(trees)
    text = " ".join(words)
    if own is None or "APT_CONFIG" in text:
        return AptSettings()
    archive, files = _plan_sources(own, environ, find_settings) if environ and "sources" not in text else (None, ())
    config = format_config(archive, bundle=bundle, single=single)
    if not config:
        return AptSettings()
    files = (FileMount(target=_CONFIG, content=config.encode()), *files)
    addresses = () if archive is None else tuple(a for a in (archive.mirror, *dict(archive.proxies).values()) if a)
    return AptSettings(files=files, env=(("APT_CONFIG", _CONFIG),), addresses=addresses)


def _plan_sources(
    own: dict[str, bytes], environ: Mapping[str, str], find_settings: Callable[[str], ArchiveSettings] | None
) -> tuple[ArchiveConfig | None, tuple[FileMount, ...]]:
    """Return the host's archive and its sources as files; None when the image's are others, or the host has none."""
    from carboy.bootstrap.archive import NO_SETTINGS, read_archive_config
    from carboy.bootstrap.distributions import DISTRIBUTIONS
    from carboy.bootstrap.recipe import Recipe
    from carboy.bootstrap.sources import parse_deb822_sources

    known = next((one for name, one in DISTRIBUTIONS.items() if f"{name}.sources" in own), None)
    if known is None:
        return None, ()
    base = f"{known.name}.sources"
    # As bases have them: they have no certificates yet.
    mirrors = {mirror.replace("https://", "http://") for mirror in (known.mirror, known.ports_mirror) if mirror}
    found = parse_deb822_sources(own[base].decode("utf-8", "replace"))
    sources = [source for source in found if source.uri.removesuffix("-security") in mirrors]
    if not sources:
        return None, ()
    recipe = Recipe(distribution=known.name, suite=sources[0].suite)
    settings = find_settings(known.name) if find_settings is not None else NO_SETTINGS
    archive = read_archive_config(environ, recipe=recipe, settings=settings)
    if archive.mirror in {known.mirror, known.ports_mirror} and not archive.proxies:
        return None, ()
    wanted = {source.suite for source in sources}
    lines = [
        f"deb [signed-by={known.keyring}] {item.uri} {item.name} {' '.join(item.components)}\n"
        for item in archive.plan_suites(recipe)
        if item.name in wanted
    ]
    others = [FileMount(target=f"{_PARTS}/{name}", content=data) for name, data in sorted(own.items()) if name != base]
    content = "".join(lines).encode()
    return archive, (FileMount(target=f"{_PARTS}/{known.name}.list", content=content), *others)


def format_config(archive: ArchiveConfig | None, *, bundle: str, single: bool) -> str:
    """Return apt's configuration, "" when it needs none: the host's sources and proxies, and who downloads. Pure."""
    lines = ['APT::Sandbox::User "root";'] if single else []
    if archive is not None:
        lines.append(f'Dir::Etc::SourceParts "{_PARTS}";')
        for name, proxy in archive.proxies:
            key = f"Acquire::{name}::Proxy" if name in {"http", "https"} else f"Acquire::http::Proxy::{name}"
            lines.append(f'{key} "{proxy or "DIRECT"}";')
        if bundle:
            lines.append(f'Acquire::https::CAInfo "{bundle}";')
    return "".join(f"{line}\n" for line in lines)


def _read(trees: Sequence[str]) -> dict[str, bytes] | None:
    """Return the files of the image's sources by name, None when it has no apt."""
    files: dict[str, bytes] = {}
    if not trees:
        return None
    try:
        with MergedRoot(trees).open() as root, find(root, PARTS.encode()) as place, place.open_folder(root) as folder:
            for name in folder.names():
                if name.endswith((b".list", b".sources")):
                    with open(folder.open_file(name), "rb") as file:
                        files[os.fsdecode(name)] = file.read(_MAX_BYTES)
    except OSError:
        return None
    return files
