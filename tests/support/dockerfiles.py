"""Dockerfiles built by the program in the home of any tier, for tests of what a build makes."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Carboy


@dataclass(frozen=True, slots=True)
class Built:
    """What a build said: ``steps`` by title, whether they were cached."""

    digest: str
    steps: dict[str, bool]
    log: str

    @property
    def cached(self) -> bool:
        """Whether no step was done."""
        return all(self.steps.values())


@dataclass(frozen=True, slots=True)
class Builder:
    """Builds Dockerfiles as one person; ``folder`` is the context, which the tests fill."""

    carboy: Carboy
    folder: Path

    def write(self, **files: str) -> None:
        """Write files into the context; "__" in a name is a "/", and "_DOT_" a "."."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        person = self.carboy.person
        for path in (self.folder, *self.folder.rglob("*")):
            if not path.is_symlink():
                shutil.chown(path, person.uid, person.gid)

    def arguments(self, text: str, *options: str) -> list[str]:
        """Write the Dockerfile and return the arguments that build it."""
        self.write(Dockerfile=text)
        return ["build", "--json", "--progress", "plain", *options, str(self.folder)]

    def build(self, text: str, *options: str, variables: dict[str, str] | None = None) -> Built:
        """Build and return what was said."""
        runner = self.carboy.using(self.carboy.home, **(variables or {}))
        done = runner(*self.arguments(text, *options))
        value = json.loads(done.stdout)
        return Built(value["digest"], {step["title"]: step["cached"] for step in value["steps"]}, done.stderr)

    def fail(self, text: str, *options: str, status: int = 1) -> str:
        """Build what cannot be built, and return what is said."""
        return self.carboy(*self.arguments(text, *options), expect=status).stderr

    def run(self, name: str, *command: str) -> str:
        """Run an image and return its output."""
        return self.carboy("run", "--rm", name, *command).stdout


@pytest.fixture
def builder(small_carboy: Carboy) -> Iterator[Builder]:
    """Return a builder for the person of each tier in turn, in whose home ``small:test`` is."""
    folder = small_carboy.home.with_name(f"context-{uuid.uuid4().hex[:12]}")
    folder.mkdir(mode=0o755)
    yield Builder(small_carboy, folder)
    shutil.rmtree(folder, ignore_errors=True)
