"""Registries in builds, runs and projects: bases from there, results and caches to there, as people use them."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING

import pytest
from registries import open_distribution

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from dockerfiles import Builder

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with open_distribution(tmp_path_factory.mktemp("registry")) as server:
        yield server.host


@pytest.fixture
def base(builder: Builder, registry: str) -> str:
    """Return the name of a base that is in the registry, and not here."""
    name = f"{registry}/team/base-{uuid.uuid4().hex[:8]}:1"
    builder.carboy("tag", "small:test", name)
    builder.carboy("push", "-q", name)
    builder.carboy("rmi", name)
    return name


@pytest.fixture
def elsewhere(builder: Builder) -> Builder:
    """Return a builder with the same context and a home of its own, in which nothing is."""
    place = builder.folder.with_name(f"elsewhere-{uuid.uuid4().hex[:12]}")
    return type(builder)(builder.carboy.using(place), builder.folder)


def test_a_base_is_fetched_once(elsewhere: Builder, base: str) -> None:
    text = f"FROM {base}\nRUN echo made > /made\n"
    plan = elsewhere.carboy("plan", "-f", "-", str(elsewhere.folder), input=text).stdout
    assert "is fetched from 127.0.0.1" in plan
    assert elsewhere.carboy("images", "-q").stdout == ""  # a plan fetches documents alone, and names nothing
    first = elsewhere.build(text, "-t", "own:1")
    assert f"{base} is fetched from 127.0.0.1" in first.log
    assert elsewhere.run("own:1", "cat", "/made") == "made\n"
    again = elsewhere.build(text, "-t", "own:1")
    assert again.cached
    assert "is fetched" not in again.log
    assert base.rpartition(":")[0] in elsewhere.carboy("images").stdout


def test_pull_asks_for_a_newer_one(builder: Builder, elsewhere: Builder, base: str) -> None:
    text = f"FROM {base}\nRUN cat /new > /made || echo old > /made\n"
    elsewhere.build(text, "-t", "own:1")
    builder.write(new="new\n")
    builder.build("FROM small:test\nCOPY new /new\n", "-t", base)
    builder.carboy("push", "-q", base)
    assert elsewhere.build(text, "-t", "own:1").cached
    assert not elsewhere.build(text, "--pull", "-t", "own:1").cached
    assert elsewhere.run("own:1", "cat", "/made") == "new\n"


def test_what_cannot_be_fetched_says_why_and_where(elsewhere: Builder, registry: str) -> None:
    done = elsewhere.carboy("build", "-", input=f"FROM {registry}/team/nothing:7\n", expect=1)
    assert f"there is no image {registry}/team/nothing:7 here, and it cannot be fetched or made" in done.stderr
    assert "Dockerfile:1" in done.stderr
    assert f"there is no image team/nothing:7 at {registry}" in done.stderr


def test_a_result_is_pushed_with_what_is_said_of_it(builder: Builder, elsewhere: Builder, registry: str) -> None:
    name = f"{registry}/made/{uuid.uuid4().hex[:8]}:1"
    told = builder.folder / "metadata.json"
    builder.build("FROM small:test\nRUN echo pushed > /made\n", "--push", "-t", name, "--sbom", "true", "--provenance",
                  "true", "--metadata-file", str(told))  # fmt: skip
    assert name.rpartition(":")[0] in builder.carboy("images").stdout
    digest = json.loads(told.read_text())["containerimage.digest"]
    pulled = elsewhere.carboy("pull", name).stdout
    assert f"Digest: {digest}" in pulled
    assert elsewhere.run(name, "cat", "/made") == "pushed\n"
    (image,) = json.loads(elsewhere.carboy("inspect", name).stdout)
    assert len(image["Attestations"]) == 2
    assert {one["Subject"] for one in image["Attestations"]} == {image["Digest"]}


def test_an_output_can_go_to_a_registry_by_its_digest(builder: Builder, elsewhere: Builder, registry: str) -> None:
    name = f"{registry}/by-digest/{uuid.uuid4().hex[:8]}"
    told = builder.folder / "metadata.json"
    output = f"type=image,name={name},push=true,push-by-digest=true,compression=zstd"
    builder.build("FROM small:test\nRUN echo zstd > /made\n", "-o", output, "--metadata-file", str(told))
    assert "no image" in elsewhere.carboy("pull", name, expect=1).stderr
    digest = json.loads(told.read_text())["containerimage.digest"]
    elsewhere.carboy("pull", "-q", f"{name}@{digest}")
    assert elsewhere.run(f"{name}@{digest}", "cat", "/made") == "zstd\n"


def test_what_has_no_name_is_not_pushed(builder: Builder) -> None:
    builder.write(Dockerfile="FROM small:test\n")
    assert "tag is needed" in builder.carboy("build", "--push", str(builder.folder), expect=2).stderr


def test_a_cache_in_a_registry_spares_another_machine_the_work(
    builder: Builder, elsewhere: Builder, base: str, registry: str
) -> None:
    cache = f"{registry}/caches/{uuid.uuid4().hex[:8]}:main"
    mark = uuid.uuid4().hex
    text = (
        f"FROM {base} AS tool\nRUN --mount=type=cache,id={mark},target=/c echo ran >> /c/canary; cp /c/canary /tool\n"
        f"FROM {base}\nCOPY --from=tool /tool /tool\n"
    )
    first = builder.build(text, "--cache-to", f"type=registry,ref={cache},mode=max")
    missing = f"{registry}/caches/nothing"
    other = elsewhere.build(
        text, "-t", "other:1", "--cache-from", missing, "--cache-from", f"type=registry,ref={cache}"
    )
    assert other.digest == first.digest
    assert "it is not used" in other.log
    assert not (elsewhere.carboy.home / "cache" / "mounts").exists()  # no RUN has made its cache
    assert elsewhere.run("other:1", "cat", "/tool") == "ran\n"
    assert elsewhere.carboy("system", "check").stdout == "the store is intact\n"


def test_run_fetches_what_is_not_here(elsewhere: Builder, base: str) -> None:
    carboy = elsewhere.carboy
    assert "there is no image" in carboy("run", "--pull", "never", base, "true", expect=125).stderr
    first = carboy("run", "--rm", base, "echo", "here")
    assert (first.stdout, f"{base} is fetched from" in first.stderr) == ("here\n", True)
    again = carboy("run", "--rm", base, "echo", "here")
    assert (again.stdout, again.stderr) == ("here\n", "")
    assert "is fetched from" in carboy("run", "--rm", "--pull", "always", base, "echo", "here").stderr
    assert "none of always" in carboy("run", "--pull", "sometimes", base, expect=2).stderr


def test_a_mirror_is_asked_first_and_the_registry_when_it_is_gone(elsewhere: Builder, base: str, registry: str) -> None:
    carboy: Carboy = elsewhere.carboy
    carboy("images")
    name = base.removeprefix(f"{registry}/")
    (carboy.home / "config.toml").write_text(
        f'[registries."quay.example.org"]\nmirrors = ["127.0.0.1:1", "http://{registry}"]\n'
    )
    assert carboy("run", "--rm", f"quay.example.org/{name}", "echo", "mirrored").stdout == "mirrored\n"


def test_compose_pulls_and_pushes(elsewhere: Builder, base: str, registry: str, tmp_path: Path) -> None:
    own = f"{registry}/composed/{uuid.uuid4().hex[:8]}:1"
    folder = elsewhere.folder / "project"
    elsewhere.write(**{"project/compose.yaml": (
        f"services:\n  far: {{image: '{base}', network_mode: none, command: echo far}}\n"
        f"  own: {{image: '{own}', network_mode: none, build: {{dockerfile_inline: 'FROM {base}'}}, command: echo own}}\n"
    )})  # fmt: skip
    carboy = elsewhere.carboy
    carboy("compose", "pull", cwd=folder)
    assert base.rpartition(":")[0] in carboy("images").stdout
    carboy("compose", "build", cwd=folder)
    carboy("compose", "push", cwd=folder)
    carboy("rmi", own)
    assert carboy("run", "--rm", own, "echo", "pushed").stdout == "pushed\n"


def test_images_travel_from_python(elsewhere: Builder, base: str, registry: str) -> None:
    other = f"{registry}/python/{uuid.uuid4().hex[:8]}:1"
    program = (
        "import carboy, subprocess, sys\n"
        f"image = carboy.Image.pull({base!r})\n"
        f"assert image.name == {base!r} and image.size_bytes > 0, image\n"
        f"subprocess.run([*{elsewhere.carboy.program!r}, 'tag', image.name, {other!r}], check=True)\n"
        f"print(carboy.Image({other!r}, image.digest, 0).push())\n"
    )
    digest = elsewhere.carboy.python(program).stdout.strip()
    assert digest.startswith("sha256:")
    assert elsewhere.carboy("pull", other).stdout.count(digest) == 1
