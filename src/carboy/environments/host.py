"""Reads what ``indexes`` plans from: pip's configuration files and the existence of paths."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from carboy.environments.indexes import IndexConfig, candidate_paths, plan_indexes

if TYPE_CHECKING:
    from collections.abc import Mapping


def read_index_config(environ: Mapping[str, str]) -> IndexConfig:
    """Return how this host installs Python packages."""
    texts = [text for path in _pip_files(environ) if (text := _read(path)) is not None]
    existing = frozenset(path for path in candidate_paths(environ, texts) if os.path.exists(path))
    return plan_indexes(environ, texts, existing=existing)


def _pip_files(environ: Mapping[str, str]) -> list[str]:
    """Return pip's configuration files in its order: machine, user, the one that is named."""
    named = environ.get("PIP_CONFIG_FILE")
    if named == os.devnull:
        return []
    home = environ.get("HOME", "")
    config = environ.get("XDG_CONFIG_HOME") or f"{home}/.config"
    user = [f"{home}/.pip/pip.conf", f"{config}/pip/pip.conf"] if home else []
    return ["/etc/xdg/pip/pip.conf", "/etc/pip.conf", *user, *([named] if named else [])]


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(2**20)
    except OSError:
        return None
