"""Rows of the hardening tables' part E, builder, as builds by the program. Others have a file of their own.

=== ========================================================================================================================
62  here; ``tests/e2e/test_dockerfile_trouble.py`` (links of mounts' sources)
63  here; ``tests/unit/build/test_running.py`` (caches by the hash of their id)
64  here; the flips of a context's folders in ``tests/e2e/test_dockerfile_trouble.py``
65  ``tests/e2e/test_dockerfile_trouble.py`` (a step that exchanges the place of a mount); ``tests/unit/build/test_running.py``
66  ``tests/unit/build/test_copying.py`` (traps 41 and 43), ``tests/e2e/test_dockerfile_trouble.py`` (links lead nowhere outside)
67  here; ``tests/unit/build/test_running.py`` (one gate)
68  here; ``tests/e2e/test_dockerfile.py`` (a file of another language)
69  ``tests/unit/build/test_sources_of_add.py`` (refs, folders, submodules, trees that lead out)
70  ``test_secrets_of_builds.py``
71  here; ``tests/unit/build/test_context_scan.py`` (what is ignored is never opened)
72  here; ``tests/unit/build/test_copying_values.py`` (every input of a RUN counts), ``tests/unit/build/test_exchange.py``
73  here
74  ``test_copying.py`` (cp and export), ``tests/e2e/test_dockerfile_trouble.py`` (a context that flips its links)
=== ========================================================================================================================
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockerfiles import Builder

pytestmark = [pytest.mark.root, pytest.mark.userns, pytest.mark.slow]
root_only = pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
subuid_only = pytest.mark.parametrize("tier_carboy", ["subuid"], indirect=True)


@pytest.fixture
def outside(builder: Builder) -> Iterator[Path]:
    """Return a folder beside the context that the person may write, with a secret in it; nothing may touch it."""
    folder = builder.folder.with_name(f"outside-{os.urandom(4).hex()}")
    folder.mkdir()
    (folder / "secret").write_text("canary-outside")
    for path in (folder, folder / "secret"):
        shutil.chown(path, builder.carboy.person.uid, builder.carboy.person.gid)
    yield folder
    assert sorted(os.listdir(folder)) == ["secret"]
    assert (folder / "secret").read_text() == "canary-outside"
    shutil.rmtree(folder)


@pytest.mark.parametrize("tier_carboy", ["root", "subuid"], indirect=True)
def test_row_62_what_is_written_to_a_mount_reaches_nobody(builder: Builder, outside: Path) -> None:
    builder.write(a="a", dir__b="b")
    evil = f"FROM small:test AS evil\nRUN ln -s {outside} /host && ln -s / /root-link && mkdir /own\n"
    log = builder.build(
        f"{evil}FROM small:test\n"
        "RUN --mount=type=bind,from=evil,source=/,target=/m,rw (echo x > /m/host/planted); echo x > /m/new; ls /m\n"
        "RUN --mount=type=bind,from=evil,source=/root-link,target=/m,rw ! test -e /m/new && ! cat /m/host/secret\n"
        "RUN --mount=type=bind,target=/m,rw rm -r /m/dir && echo x > /m/a && echo x > /m/new\n"
        "RUN --mount=type=bind,target=/m test $(cat /m/a) = a && test -d /m/dir && ! (echo x > /m/a)\n",
        "--no-cache",
    ).log
    assert "canary-outside" not in log
    assert sorted(os.listdir(builder.folder)) == ["Dockerfile", "a", "dir"]
    for source in ("/host", "/host/secret", "/own/../host"):
        text = f"{evil}FROM small:test\nRUN --mount=type=bind,from=evil,source={source},target=/m,rw cat /m/secret /m\n"
        assert "canary-outside" not in builder.fail(text)


@subuid_only
def test_rows_63_and_64_a_cache_is_its_own_folder_alone(builder: Builder, outside: Path) -> None:
    mounts = Path(builder.carboy.home, "cache", "mounts", "multi")
    identifiers = ("../../up", "/absolute", "a/../../b", str(outside))
    steps = "".join(f"RUN --mount=type=cache,id={id_},target=/c echo x > /c/planted\n" for id_ in identifiers)
    builder.build(f"FROM small:test\n{steps}", "--no-cache")
    assert all(len(name) == 64 and set(name) <= set("0123456789abcdef") for name in os.listdir(mounts))
    # What it is filled from is looked for in the stage; what a step leaves in it leads nowhere else for the next one.
    evil = f"FROM small:test AS evil\nRUN ln -s {outside} /host && ln -s /etc /in-stage\n"
    log = builder.build(
        f"{evil}FROM small:test\n"
        "RUN --mount=type=cache,id=flip,from=evil,source=/in-stage,target=/c test -e /c/passwd\n"
        f"RUN --mount=type=cache,id=flip,target=/c rm -rf /c/* && ln -s {outside} /c/x && ln -s {outside} /c/data;"
        " ! rmdir /c && ! mv /c /d\n"
        "RUN --mount=type=cache,id=flip,target=/c ! cat /c/x/secret /c/data/secret && ! touch /c/x/planted\n",
        "--no-cache",
    ).log
    assert "canary-outside" not in log
    text = f"{evil}FROM small:test\nRUN --mount=type=cache,from=evil,source=/host,target=/c cat /c/secret\n"
    assert "canary-outside" not in builder.fail(text)


@root_only
@pytest.mark.long
@pytest.mark.timeout(300)
def test_row_64_two_builds_exchange_folders_of_one_cache(builder: Builder, outside: Path) -> None:
    """One flips a folder and a link 10,000 times while another one copies from it and mounts it."""
    flips = "i=0; while [ $i -lt 5000 ]; do mv /c/d /c/e; mv /c/l /c/d; mv /c/d /c/l; mv /c/e /c/d; i=$((i+1)); done"
    text = (
        f"FROM small:test\nRUN --mount=type=cache,id=flips,target=/c rm -rf /c/*; mkdir /c/d; echo in > /c/d/secret;"
        f" ln -s {outside} /c/l; echo begun; {flips}\n"
    )
    process = builder.carboy.start(*builder.arguments(text, "--no-cache"))
    assert process.stderr is not None
    try:
        assert any(line.rstrip().endswith(" begun") for line in process.stderr)
        read = "i=0; while [ $i -lt 300 ]; do cat /c/d/secret /c/l/secret; cp -r /c/d /tmp/$i; i=$((i+1)); done 2>/dev/null; true"
        for _ in range(5):
            log = builder.build(
                f"FROM small:test\nRUN --mount=type=cache,id=flips,target=/c {read}\n", "--no-cache"
            ).log
            assert "canary-outside" not in log
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)


@root_only
@pytest.mark.parametrize("right", ["network.host", "security.insecure"])
def test_row_67_no_way_around_a_right(builder: Builder, right: str) -> None:
    flag = {"network.host": "--network=host", "security.insecure": "--security=insecure"}[right]
    other = {"network.host": "security.insecure", "security.insecure": "network.host"}[right]
    step = f"RUN {flag} true"
    base = f"{builder.folder.name}-base"
    builder.build(f"FROM small:test\nONBUILD {step}\n", "-t", base)
    routes = {
        "by itself": (f"FROM small:test\n{step}\n",),
        "by a trigger": (f"FROM {base}\n",),
        "by a stage's trigger": (f"FROM small:test AS a\nONBUILD {step}\nFROM a\n",),
        "by a named context": ("FROM further\n", "--build-context", f"further=docker-image://{base}"),
        "by an argument": (
            f"ARG BUILDKIT_SANDBOX=1\nFROM small:test\n{step}\n",
            "--build-arg",
            f"ENTITLEMENTS={right}",
        ),
        "with the other right": (f"FROM small:test\n{step}\n", "--allow", other),
        "from the cache": (f"FROM small:test\n{step}\n",),
    }
    for name, (text, *options) in routes.items():
        if name == "from the cache":
            builder.build(text, "--allow", right)
        assert right in builder.fail(text, *options), name
    compose = builder.folder / "compose.yaml"
    compose.write_text(f'services: {{a: {{build: {{dockerfile_inline: "FROM small:test\\n{step}\\n"}}}}}}\n')
    refused = builder.carboy("compose", "-f", str(compose), "build", expect=1)
    assert right in refused.stderr
    # Without the right neither a variable nor a value of one is a flag.
    said = builder.fail(f"FROM small:test\nARG F={flag}\nRUN $F true\n")
    assert "status 127" in said


@root_only
def test_row_68_a_front_end_of_others_is_not_run(builder: Builder) -> None:
    for text in (
        "# syntax=evil/frontend:1\nFROM small:test\n",
        "#syntax=docker.io/evil/dockerfile:1\nFROM small:test\n",
    ):
        assert "asks for the front end" in builder.fail(text)


@root_only
def test_row_71_what_is_ignored_comes_by_no_other_name(builder: Builder) -> None:
    builder.write(
        secret="canary-ignored", public="p", keys__a_DOT_key="canary-key", keys__b_DOT_key="b", Secret="other",
        _DOT_dockerignore="secret\nkeys/*\n!keys/b.key\n",
    )  # fmt: skip
    (builder.folder / "link").symlink_to("secret")
    (builder.folder / "folder-link").symlink_to("keys")
    os.link(builder.folder / "public", builder.folder / "hard")
    text = "FROM small:test\nCOPY . /all/\nRUN ls -R /all; cat /all/link /all/keys/a.key /all/folder-link/a.key; true\n"
    log = builder.build(text, "--no-cache").log
    assert "canary" not in log
    assert "b.key" in log
    assert "Secret" in log
    for source in ("link", "folder-link/a.key", "public/../secret"):
        assert "canary" not in builder.fail(f"FROM small:test\nCOPY {source} /x\nRUN cat /x\n"), source
    # What is not there fits no pattern.
    assert "canary" not in builder.build("FROM small:test\nCOPY secre? [s]ecret * /x/\nRUN cat /x/s*; true\n").log
    # A file with two names has both: .dockerignore is about names.
    assert builder.build("FROM small:test\nCOPY hard /x\nRUN test $(cat /x) = p\n").digest


@root_only
def test_row_72_what_looks_alike_is_not_taken_from_the_cache(builder: Builder) -> None:
    """An image that claims to be made by the same words, on the same base, is no answer: CVE-2024-24557."""
    builder.write(file="true")
    text = "FROM small:test\nCOPY file /file\nRUN cat /file > /said\n"
    honest = builder.build(text)
    builder.write(file="forged")
    forged = builder.build(text, "-t", f"{builder.folder.name}-forged")
    assert forged.digest != honest.digest
    builder.write(file="true")
    again = builder.build(text, "-t", f"{builder.folder.name}-again")
    assert again.digest == honest.digest
    assert builder.run(f"{builder.folder.name}-again", "cat", "/said") == "true"


@root_only
def test_row_73_nothing_that_others_can_read_or_that_spreads(builder: Builder) -> None:
    for key in ("bind-propagation=shared", "propagation=rshared", "bind-propagation=rslave"):
        said = builder.fail(f"FROM small:test\nRUN --mount=type=bind,target=/m,{key} true\n")
        assert "unexpected key" in said
    text = (
        "FROM small:test\nCOPY . /c/\nRUN --mount=type=secret,id=s --mount=type=bind,target=/m,rw --mount=type=tmpfs,target=/t"
        " --mount=type=cache,target=/k cat /proc/self/mountinfo; echo begun; sleep 60\n"
    )
    builder.write(a="a")
    runner = builder.carboy.using(builder.carboy.home, WORD="canary-of-row-73")
    before = Path("/proc/self/mountinfo").read_text()
    others = set(builder.carboy.temporary.iterdir())  # of tests before this one
    process = runner.start(*builder.arguments(text, "--secret", "id=s,env=WORD"))
    assert process.stderr is not None
    shown = []
    try:
        for line in process.stderr:
            shown.append(line)
            if line.rstrip().endswith(" begun"):
                break
        mounts = [line for line in shown if " - " in line and "/" in line]
        assert len(mounts) > 10
        assert not any(" shared:" in line or " master:" in line for line in mounts)
        assert Path("/proc/self/mountinfo").read_text() == before
        # Closed to others from the top; and the secret is in no file of the machine's.
        assert builder.carboy.home.stat().st_mode & 0o077 == 0
        made = set(builder.carboy.temporary.iterdir()) - others
        assert [path for path in made if path.stat().st_mode & 0o077] == []
        for place in (builder.carboy.home, builder.carboy.temporary):
            for path in place.rglob("*"):
                assert not path.is_file() or b"canary-of-row-73" not in path.read_bytes(), path
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
