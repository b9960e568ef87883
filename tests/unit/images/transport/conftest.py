"""What tests of images on their way share: a store, a registry without TLS, and no waiting between attempts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from carboy.base.home import open_home
from carboy.oci.reference import Reference
from carboy.remote.repository import Registries
from carboy.remote.transport import Transport
from carboy.store.store import Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from registries import Registry, Server

    from carboy.remote.repository import Repository


@pytest.fixture(autouse=True)
def no_sleep(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Transport, "wait", lambda *_: None)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(open_home(str(tmp_path / "home")))


@pytest.fixture
def ours(registry: tuple[Registry, Server]) -> Registry:
    return registry[0]


@pytest.fixture
def repository(registry: tuple[Registry, Server], tmp_path: Path) -> Iterator[Repository]:
    """Return the repository a/b of that registry."""
    with Registries(str(tmp_path), {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}) as registries:
        yield registries.open(Reference.parse(f"{registry[1].host}/a/b:1"))
