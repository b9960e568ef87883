"""Dockerfiles built by the program's own use case in the home of any tier, for tests of what a build makes."""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from conftest import Carboy

DRIVER = r"""
import json, os, sys
from dataclasses import replace
from carboy.build.graph.options import BuildOptions
from carboy.build.solver.progress import PlainGraphProgress
from carboy.engine.context import Engine
from carboy.engine.dockerfile import build_dockerfile, read_request
from carboy.errors import CarboyError

folder, settings = sys.argv[1], json.loads(sys.argv[2])
options = settings.pop("options", {})
options["secrets"] = {name: text.encode() for name, text in options.get("secrets", {}).items()}
options["entitlements"] = frozenset(options.get("entitlements", ()))
options["add_hosts"] = tuple(map(tuple, options.get("add_hosts", ())))
if "tags" in settings:
    settings["tags"] = tuple(settings["tags"])
settings["no_cache_stages"] = frozenset(settings.get("no_cache_stages", ()))
if "folders" in settings:
    from carboy.build.graph.ops import LocalContext
    settings["contexts"] = {name: LocalContext(name=name) for name in settings["folders"]}
engine = Engine.open(os.environ)
try:
    request = replace(read_request(folder), options=BuildOptions(**options), **settings)
    result = build_dockerfile(engine, request, PlainGraphProgress(sys.stderr))
except CarboyError as error:
    print(f"{error.brief}\n{error.details}\nhint: {error.hint}", file=sys.stderr)
    sys.exit(error.code)
print(json.dumps({
    "digest": str(result.descriptor.digest),
    "cached": result.cached,
    "steps": [[step.title, step.cached] for step in result.steps],
    "warnings": [str(item) for item in result.warnings],
}))
"""


@dataclass(frozen=True, slots=True)
class Built:
    """What a build said."""

    digest: str
    cached: bool
    steps: dict[str, bool]
    log: str


@dataclass(slots=True)
class Builder:
    """Builds Dockerfiles as one person; ``folder`` is the context, which the tests fill."""

    carboy: Carboy
    folder: Path
    images: list[str] = field(default_factory=list)

    def write(self, **files: str) -> None:
        """Write files into the context; "__" in a name is a "/", and "_DOT_" a "."."""
        for name, text in files.items():
            path = self.folder / name.replace("__", "/").replace("_DOT_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.own()

    def own(self) -> None:
        """Give all of the context to the person."""
        person = self.carboy.person
        for path in (self.folder, *self.folder.rglob("*")):
            shutil.chown(path, person.uid, person.gid) if not path.is_symlink() else None

    def start(self, text: str, **settings: Any) -> tuple[Carboy, list[str]]:
        """Write the Dockerfile and return the runner and the arguments that build it."""
        self.write(Dockerfile=text)
        python = shutil.which("python", path=self.carboy.program[0].rpartition("/")[0]) or self.carboy.program[0]
        return replace(self.carboy, program=(python, "-I", "-c", DRIVER)), [str(self.folder), json.dumps(settings)]

    def build(self, text: str, *, variables: dict[str, str] | None = None, **settings: Any) -> Built:
        """Build and return what was said."""
        runner, arguments = self.start(text, **settings)
        done = runner.using(runner.home, **(variables or {}))(*arguments)
        value = json.loads(done.stdout)
        return Built(value["digest"], value["cached"], dict(value["steps"]), done.stderr)

    def fail(self, text: str, *, status: int = 1, **settings: Any) -> str:
        """Build what cannot be built, and return what is said."""
        runner, arguments = self.start(text, **settings)
        return runner(*arguments, expect=status).stderr

    def run(self, name: str, *command: str, expect: int = 0) -> str:
        """Run an image and return its output."""
        done: subprocess.CompletedProcess[str] = self.carboy("run", "--rm", name, *command, expect=expect)
        return done.stdout

    def inspect(self, name: str) -> dict[str, Any]:
        """Return what is known of an image."""
        value = json.loads(self.carboy("inspect", name).stdout)
        found: dict[str, Any] = value[0] if isinstance(value, list) else value
        return found


@pytest.fixture
def builder(small_carboy: Carboy) -> Iterator[Builder]:
    """Return a builder for the person of each tier in turn, in whose home ``small:test`` is."""
    folder = small_carboy.home.with_name(f"context-{uuid.uuid4().hex[:12]}")
    folder.mkdir(mode=0o755)
    yield Builder(small_carboy, folder)
    shutil.rmtree(folder, ignore_errors=True)
