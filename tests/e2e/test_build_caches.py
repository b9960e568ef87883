"""Caches between homes, as a person uses them: a second machine does nothing again."""

from __future__ import annotations

import json
import os
import shutil
import time
import uuid
from typing import TYPE_CHECKING

import pytest

from carboy.build.context.scan import _FRESH_NS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dockerfiles import Builder

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

TEXT = """FROM small:test AS tool
COPY word /word
RUN --mount=type=cache,id={id},target=/c echo ran >> /c/canary; cat /word /c/canary > /made
FROM small:test
COPY --from=tool /made /made
RUN --mount=type=cache,id={id},target=/c echo ran >> /c/canary; cp /c/canary /seen
"""


@pytest.fixture
def second(builder: Builder, tmp_path: Path) -> Iterator[Builder]:
    """Return a builder with the same context and an own home, which has only the base."""
    place = builder.folder.with_name(f"second-{uuid.uuid4().hex[:12]}")
    archive = builder.folder.with_name(f"{place.name}.tar")
    builder.carboy("save", "-o", str(archive), "small:test")
    carboy: Carboy = builder.carboy.using(place)
    carboy("load", "-i", str(archive))
    yield type(builder)(carboy, builder.folder)
    archive.unlink()
    shutil.rmtree(place, ignore_errors=True)


def test_a_second_machine_does_nothing_again(builder: Builder, second: Builder) -> None:
    text = TEXT.format(id=uuid.uuid4().hex)
    builder.write(word="hello\n")
    cache = builder.folder.with_name(f"cache-{uuid.uuid4().hex}")
    missing = f"type=local,src={cache}-missing"
    first = builder.build(text, "--cache-to", f"type=local,dest={cache},mode=max")
    assert not first.cached
    other = second.build(text, "-t", "other:1", "--cache-from", missing, "--cache-from", f"type=local,src={cache}")
    assert other.digest == first.digest
    assert other.cached
    assert f"{cache}-missing" in other.log
    assert "it is not used" in other.log
    assert not (second.carboy.home / "cache" / "mounts").exists()  # the canary: no RUN has made its cache
    assert second.run("other:1", "cat", "/made", "/seen") == "hello\nran\nran\nran\n"
    assert second.carboy("system", "check").stdout == "the store is intact\n"
    assert second.build(text).cached
    shutil.rmtree(cache)


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_min_has_the_steps_of_the_image_only(builder: Builder, second: Builder) -> None:
    text = TEXT.format(id=uuid.uuid4().hex)
    builder.write(word="hello\n")
    cache = builder.folder.with_name(f"cache-{uuid.uuid4().hex}")
    builder.build(text, "--cache-to", f"type=local,dest={cache}")
    other = second.build(text, "--cache-from", f"type=local,src={cache}")
    assert [title for title, cached in other.steps.items() if not cached and "RUN" in title] != []
    last = list(other.steps)[-1]
    assert "RUN" in last
    layers = len(os.listdir(cache / "blobs/sha256")) - 2
    assert layers == 2
    shutil.rmtree(cache)


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_a_damaged_cache_costs_time_only(builder: Builder, second: Builder) -> None:
    text = "FROM small:test\nRUN echo first > /one\nRUN echo second > /two\n"
    cache = builder.folder.with_name(f"cache-{uuid.uuid4().hex}")
    first = builder.build(text, "--no-cache", "--cache-to", f"type=local,dest={cache}")
    index = json.loads((cache / "index.json").read_bytes())
    manifest = json.loads((cache / "blobs/sha256" / index["manifests"][0]["digest"][7:]).read_bytes())
    for layer in manifest["layers"]:
        path = cache / "blobs/sha256" / layer["digest"][7:]
        path.write_bytes(path.read_bytes().replace(b"second", b"SECOND"))
    other = second.build(text, "--cache-from", f"type=local,src={cache}")
    assert list(other.steps.values()) == [True, True, False]
    assert other.digest == first.digest
    assert "it is not used" in other.log
    shutil.rmtree(cache)


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_what_is_no_cache_is_said(builder: Builder) -> None:
    for option in ("--cache-to", "--cache-from"):
        for value in ("type=registry", "type=inline", "type=s3,bucket=b"):
            said = builder.fail("FROM small:test\n", option, value, status=2)
            assert "type=local" in said
    blocked = builder.folder.with_name(f"cache-{uuid.uuid4().hex}")
    blocked.write_text("a file")
    assert "write the cache" in builder.fail("FROM small:test\n", "--cache-to", f"type=local,dest={blocked}")
    builder.build("FROM small:test\n", "--cache-to", f"type=local,dest={blocked},ignore-error=true")
    blocked.unlink()


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_stages_of_a_filter_are_done_again(builder: Builder) -> None:
    text = "FROM small:test AS one\nRUN echo 1 > /1\nFROM small:test AS two\nRUN echo 2 > /2\n"
    text += "FROM small:test\nCOPY --from=one /1 /\nCOPY --from=two /2 /\n"
    builder.build(text)
    again = builder.build(text, "--no-cache-filter", "TWO,other")
    done = [title for title, cached in again.steps.items() if not cached]
    assert done == ["[two 2/2] RUN echo 2 > /2"]  # its files are the same, so that what takes them is
    assert builder.build(text).cached


def test_the_same_build_is_told_again_in_every_tier(builder: Builder) -> None:
    builder.write(word="hello\n", Dockerfile="FROM small:test\nCOPY word /\nRUN cat /word > /again\n")
    arguments = ("-t", "again:1", str(builder.folder))
    time.sleep(
        2e-9 * _FRESH_NS
    )  # what was just written may change again without its time telling: nothing is kept of that
    first = builder.carboy("build", *arguments)
    look = "import os, sys; from carboy.engine.builds.replay import find_record\n"
    look += "print(find_record(sys.argv[1:], os.environ) is not None)"
    assert builder.carboy.python(look, *arguments).stdout == "True\n"
    again = builder.carboy("build", *arguments)
    assert again.stdout == first.stdout
    assert again.stderr.count("CACHED") == 4
    assert builder.run("again:1", "cat", "/again") == "hello\n"
    builder.write(word="changed\n")
    assert builder.carboy.python(look, *arguments).stdout == "False\n"
    builder.carboy("build", *arguments)
    assert builder.run("again:1", "cat", "/again") == "changed\n"
    builder.carboy("rmi", "again:1")
    assert builder.carboy.python(look, *arguments).stdout == "False\n"
