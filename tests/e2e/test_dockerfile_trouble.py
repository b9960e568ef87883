"""Builds that are interrupted, or meant to do harm: nothing stays behind, and nothing of the host is reached."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import tarfile
import threading
import time
from typing import TYPE_CHECKING

import pytest
from small_image import make_small_image

if TYPE_CHECKING:
    from dockerfiles import Builder

    from conftest import Leftovers

pytestmark = [pytest.mark.root, pytest.mark.userns, pytest.mark.slow]
AT_ONCE = "".join(f"FROM small:test AS s{n}\nRUN echo begun-{n}; sleep 60\n" for n in range(2))


@pytest.mark.parametrize(
    ("text", "begun"),
    [
        ("FROM small:test\nRUN echo begun-0; sleep 60\n", ["begun-0"]),
        (f"{AT_ONCE}FROM small:test\nCOPY --from=s0 /bin /a\nCOPY --from=s1 /bin /b\n", ["begun-0", "begun-1"]),
    ],
    ids=["alone", "at once"],
)
def test_interrupted(builder: Builder, leftovers: Leftovers, text: str, begun: list[str]) -> None:
    process = builder.carboy.start(*builder.arguments(text))
    assert process.stderr is not None
    missing = set(begun)
    for line in process.stderr:
        missing -= {word for word in missing if line.rstrip().endswith(word)}
        if not missing:
            break
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 130, said
    assert "Traceback" not in said
    assert leftovers.find() == []
    home = builder.carboy.home
    assert not [path for path in (home / "ingest").iterdir() if path.name.startswith("build")]


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_a_failure_ends_what_runs_beside_it(builder: Builder, leftovers: Leftovers) -> None:
    said = builder.fail(
        "FROM small:test AS slow\nRUN sleep 60\nFROM small:test AS bad\nRUN sleep 0.5; exit 7\n"
        "FROM small:test\nCOPY --from=slow /bin /a\nCOPY --from=bad /bin /b\n",
        "--no-cache",
    )
    assert "status 7" in said
    assert "stopped" in said
    assert leftovers.find() == []


@pytest.mark.parametrize("tier_carboy", ["subuid"], indirect=True)
def test_links_lead_nowhere_outside(builder: Builder) -> None:
    outside = builder.folder.with_name("outside-of-context")
    outside.mkdir(exist_ok=True)
    (outside / "secret").write_text("canary-outside")
    builder.write(a="a", dir__b="b")
    for name, target in (("up", "../outside-of-context"), ("absolute", str(outside)), ("etc", "/etc")):
        (builder.folder / name).symlink_to(target)
    for step in (
        "COPY etc/passwd /x",
        "COPY up/secret /x",
        "RUN --mount=type=bind,source=absolute/secret,target=/m cat /m",
    ):
        assert "is not in the build context" in builder.fail(f"FROM small:test\n{step}\n")
    # A link of a stage's leads to what is there in the stage.
    built = builder.build(
        "FROM small:test AS evil\n"
        f"RUN ln -s / /root-link && ln -s {outside} /host && ln -s /etc /target && ln -s ../../../../.. /up\n"
        "FROM small:test\n"
        "COPY --from=evil /root-link/bin/sh /copied\n"
        "RUN --mount=type=bind,from=evil,source=/root-link,target=/m test -x /m/bin/sh && ! test -e /m/host/secret\n"
        "FROM evil\n"
        "COPY a /target/planted\n"
        "COPY a /up/planted-up\n"
        "WORKDIR /target/work\n"
        "RUN test -f /etc/planted && test -d /etc/work && test -f /planted-up\n",
        "--no-cache",
    )
    assert "canary-outside" not in built.log
    assert sorted(os.listdir(outside)) == ["secret"]


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_a_context_that_flips_its_links(builder: Builder) -> None:
    """A folder that somebody exchanges for a link, again and again, while it is copied: nothing from outside comes along."""
    outside = builder.folder.with_name("outside-of-flips")
    (outside / "deep").mkdir(parents=True, exist_ok=True)
    (outside / "deep" / "file").write_text("canary-outside")
    builder.write(dir__deep__file="inside", other__deep__file="inside")
    real, link = builder.folder / "dir", builder.folder / "link"
    link.symlink_to(outside)
    ended = threading.Event()

    def flip() -> None:
        aside = builder.folder / "aside"
        while not ended.is_set():
            os.rename(real, aside)
            os.rename(link, real)
            os.rename(real, link)
            os.rename(aside, real)

    arguments = builder.arguments("FROM small:test\nCOPY dir /dir\nRUN cat /dir/deep/file\n", "--no-cache")
    thread = threading.Thread(target=flip)
    thread.start()
    try:
        for _ in range(2):
            done = builder.carboy(*arguments, expect=None)
            assert "canary-outside" not in done.stderr
            assert done.returncode in {0, 1}
    finally:
        ended.set()
        thread.join()


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_a_step_that_exchanges_the_place_of_a_mount(builder: Builder) -> None:
    """CVE-2024-23652: the place is removed after the step, and must not be followed out of its layer."""
    victim = builder.folder.with_name("victim-of-stubs")
    (victim / "mount").mkdir(parents=True, exist_ok=True)
    builder.build(
        "FROM small:test\n"
        "RUN --mount=type=tmpfs,target=/gone/mount mkdir /moved && mv /gone /moved 2>/dev/null; rm -rf /gone;"
        f" ln -sf {victim} /gone2; true\n",
        "--no-cache",
    )
    assert (victim / "mount").is_dir()


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_a_large_context_is_refused_at_once(builder: Builder) -> None:
    builder.write(a="a")
    with (builder.folder / "model.bin").open("wb") as file:
        file.truncate(50 * 2**30)
    said = builder.fail("FROM small:test\nCOPY . /app\n")
    for words in ("50.0 GiB", "model.bin", ".dockerignore", "--context-limit"):
        assert words in said
    limited = builder.carboy.using(builder.carboy.home, CARBOY_CONTEXT_LIMIT="100")
    builder.write(small="x" * 200)
    said = limited(*builder.arguments("FROM small:test\nCOPY small /app\n"), expect=1).stderr
    assert "more than the 0.0 GiB that a build takes" in said
    assert (
        "hundred"
        in limited.using(limited.home, CARBOY_CONTEXT_LIMIT="hundred")(
            *builder.arguments("FROM small:test\nCOPY small /app\n"), expect=1
        ).stderr
    )
    # What is not asked for is not looked at.
    builder.build("FROM small:test\nCOPY a /app/\n")


@pytest.mark.parametrize("tier_carboy", ["root", "subuid"], indirect=True)
@pytest.mark.parametrize(
    ("text", "options", "words"),
    [
        (
            "FROM small:test AS a\nCOPY --from=b /x /x\nFROM small:test AS b\nCOPY --from=a /x /x\n",
            (),
            ["circular", "Dockerfile:"],
        ),
        ("FROM small:test\n", ("--target", "none"), ["none"]),
        ("FROM small:test\nCOPY --from=nosuchstage /x /x\n", (), ["nosuchstage", "Dockerfile:2"]),
        ("FROM small:test\nCOPY up/secret /x\n", (), ["is not in the build context", "Dockerfile:2"]),
        ("FROM small:test\nCOPY chain /x\n", (), ["is not in the build context", "Dockerfile:2"]),
        ("FROM small:test\nCOPY round /x\n", (), ["round", "Dockerfile:2"]),
    ],
    ids=["circle", "target", "stage", "link", "chain", "round"],
)
def test_graphs_and_files_that_are_none(
    builder: Builder, text: str, options: tuple[str, ...], words: list[str]
) -> None:
    builder.write(a="a")
    for name, target in (("up", "../"), ("chain", "link"), ("link", "/etc/passwd"), ("round", "round")):
        (builder.folder / name).symlink_to(target)
    said = builder.carboy(*builder.arguments(text, *options), expect=None)
    assert said.returncode in {1, 2}
    for word in words:
        assert word in said.stderr


KILLED = """FROM small:test AS lib
RUN mkdir /lib && for i in 1 2 3 4 5 6 7 8; do head -c 300000 /dev/zero | tr '\\0' $i > /lib/$i; done
FROM small:test AS app
WORKDIR /app/deep
COPY many /app/many/
RUN --mount=type=cache,target=/cache cat /app/many/* > /cache/all && cp /cache/all /app/all
FROM small:test
COPY --from=lib /lib /lib
COPY --from=app --chown=5:6 /app /app
RUN rm -r /app/many && ln -s all /app/link && chmod 700 /lib
ADD archive.tar /unpacked/
CMD ["cat"]
"""


def undated(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member of an archive without its time."""
    member.mtime = 0
    return member


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tier_carboy", ["root", "subuid"], indirect=True)
def test_killed_at_twenty_moments_and_taken_up_again(builder: Builder, leftovers: Leftovers) -> None:
    """Each time some of it may be there, and none of it half: the result is that of a build that nobody disturbed."""
    builder.write(**{f"many__{number}": f"{number}\n" * 5000 for number in range(200)})
    with tarfile.open(builder.folder / "archive.tar", "w") as archive:
        archive.add(builder.folder / "many", "inside", filter=undated)
    undisturbed = builder.carboy.using(builder.carboy.home.with_name(f"{builder.folder.name}-undisturbed"))
    make_small_image(undisturbed)
    home = builder.carboy.home
    others = set((home / "containers").glob("*"))  # the home lasts: tests before this one have stopped containers in it
    arguments = builder.arguments(KILLED)
    started_s = time.monotonic()
    wanted = json.loads(undisturbed(*arguments).stdout)["digest"]
    whole_s = time.monotonic() - started_s
    chance = random.Random(20)
    ended = 0
    for number in range(20):
        if number % 5 == 0:  # from the beginning again, and from wherever the last one came to
            builder.carboy("system", "prune", "--all", "--force")
            make_small_image(builder.carboy)
        process = builder.carboy.start(*arguments)
        time.sleep(chance.uniform(0.05, whole_s))
        ended += process.poll() is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        if number % 5 == 4:
            assert json.loads(builder.carboy(*arguments).stdout)["digest"] == wanted
            assert "damaged" not in builder.carboy("system", "check").stdout
    assert ended < 20
    assert leftovers.find() == []
    assert [path for folder in ("ingest", "trash") for path in (home / folder).glob("*")] == []
    left = set((home / "containers").iterdir()) - others
    assert [sorted(path.iterdir()) for path in left if (path / "rw").exists()] == []
    shutil.rmtree(undisturbed.home, ignore_errors=True)
