"""Dockerfiles to images, as a person uses them: what is in the image, what is cached, what is said when it fails."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from dockerfiles import Builder

pytestmark = [pytest.mark.root, pytest.mark.userns, pytest.mark.slow]

STAGES = """# syntax=docker/dockerfile:1
ARG VERSION=1
FROM small:test AS build
ARG VERSION
WORKDIR /src
COPY --chmod=755 hello.sh .
RUN --mount=type=cache,target=/cache echo "v$VERSION" > /cache/v && cp /cache/v out && ./hello.sh >> out
RUN <<EOF
echo heredoc
echo second >> out
EOF
RUN <<EOF
#!/bin/sh
echo "$0" >> out
EOF

FROM small:test AS other
RUN echo other > /other

FROM small:test
ENV A=b PATH=/bin:/opt/bin
COPY --from=build --chown=1000:1000 /src/out /data/
COPY --from=other /other /data/other
COPY <<conf /etc/conf
key=$A
conf
RUN --mount=type=bind,from=build,source=/src,target=/mnt cmp /mnt/out /data/out
USER 1000
WORKDIR /home/app
CMD ["cat", "/data/out", "/data/other", "/etc/conf"]
"""
HELLO = "#!/bin/sh\necho hello\n"


def test_stages(builder: Builder) -> None:
    builder.write(hello_DOT_sh=HELLO)
    first = builder.build(STAGES, "-t", "stages:1")
    assert builder.run("stages:1") == "v1\nhello\nsecond\n/dev/pipes/EOF\nother\nkey=b\n"
    # As it is written in a document of history, by BuildKit's words.
    history = builder.carboy("inspect", "-f", "{{json .History}}", "stages:1", expect=None).stdout
    if history:
        assert "# buildkit" in history
    # New times of the files change nothing, and other bytes change what depends on them.
    os.utime(builder.folder / "hello.sh", (1, 1))
    again = builder.build(STAGES, "-t", "stages:1")
    assert (again.digest, again.cached) == (first.digest, True)
    builder.write(hello_DOT_sh=HELLO.replace("hello", "good day"))
    changed = builder.build(STAGES, "-t", "stages:1")
    assert changed.steps["[other 2/2] RUN echo other > /other"]
    assert not changed.steps["[build 3/6] COPY --chmod=755 hello.sh ."]
    assert builder.run("stages:1").startswith("v1\ngood day\n")
    # ARG is a part of what depends on it.
    argued = builder.build(STAGES, "--build-arg", "VERSION=2", "-t", "stages:2")
    assert not argued.cached
    assert builder.run("stages:2").startswith("v2\n")


def test_owners_and_modes_are_seen_by_the_next_step(builder: Builder) -> None:
    tier = builder.carboy.person.tier
    builder.write(a="a", dir__b="b")
    (builder.folder / "dir" / "b").chmod(0o600)
    built = builder.build(
        "FROM small:test\n"
        "RUN mkdir -p /own && chown 7:8 /own && chmod 2750 /own\n"
        "WORKDIR /w/d\n"
        "COPY --chown=5:6 dir /c/\n"
        "COPY --link a /l/\n"
        "USER 1000:1000\n"
        "WORKDIR /u\n"
        "USER 0\n"
        "RUN stat -c '%n %u:%g %a' /own /w/d /c /c/b /l/a /u\n"
        "RUN rm /l/a && ! test -e /l/a\n",
        "-t",
        "owners:1",
    )
    seen = [line.partition(" ")[2].partition(" ")[2] for line in built.log.splitlines() if " /" in line and ":" in line]
    expected = ["/own 7:8 2750", "/w/d 0:0 755", "/c 5:6 755", "/c/b 5:6 600", "/l/a 0:0 644", "/u 1000:1000 755"]
    if tier == "single":  # one id: whose a file is is written into the layer, and shown as the user's own
        expected = ["/own 0:0 2750", "/w/d 0:0 755", "/c 0:0 755", "/c/b 0:0 600", "/l/a 0:0 644", "/u 0:0 755"]
    assert [line for line in seen if line in expected] == expected
    assert "a" not in builder.run("owners:1", "ls", "/l").split()


def test_trap_60_places_of_mounts_leave_nothing(builder: Builder) -> None:
    builder.write(a="a")
    built = builder.build(
        "FROM scratch\n"
        "COPY --from=small:test /bin /bin\n"
        "RUN --mount=type=cache,target=/deep/er/cache --mount=type=secret,id=s,target=/run/secrets/s"
        " --mount=type=tmpfs,target=/t --mount=type=bind,source=a,target=/bound/a"
        " cat /bound/a /run/secrets/s /etc/hosts /etc/resolv.conf >/dev/null && touch /deep/er/cache/x /t/y\n",
        "--secret",
        "id=s,env=WORD",
        "-t",
        "stubs:1",
        variables={"WORD": "no such word"},
    )
    driver = (
        "import os, sys, io, tarfile\nfrom carboy.engine.context import Engine\nfrom carboy.engine.images import resolve_image, "
        "read_manifest\ne = Engine.open(os.environ)\n"
        "m = read_manifest(e, resolve_image(e, 'stubs:1'))\n"
        "print(tarfile.open(e.store.blobs.path(m.layers[-1].digest)).getnames())"
    )
    assert built.digest
    assert builder.carboy.python(driver).stdout.strip() == "[]"


def test_a_failing_command(builder: Builder) -> None:
    said = builder.fail("FROM small:test\nRUN echo first; \\\n  echo second >&2; exit 3\nRUN echo never\n")
    assert "[2/3] RUN echo first;" in said
    assert "the command ended with status 3" in said
    assert "Dockerfile:2\n" in said
    assert [line.strip() for line in said.splitlines() if line.strip() in {"first", "second"}] == ["first", "second"]
    assert "echo never" not in said.partition("ERROR")[0]
    said = builder.fail('FROM small:test\nRUN ["/no/such/program"]\n')
    assert "status 127" in said
    # What was made before the failure is there in the next build.
    builder.fail("FROM small:test\nRUN echo made > /made\nRUN exit 1\n")
    assert builder.build("FROM small:test\nRUN echo made > /made\nRUN exit 0\n").steps["[2/3] RUN echo made > /made"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("FROM nowhere:1\n", ["there is no image nowhere:1 here", "Dockerfile:1", "debian:12"]),
        ("FROM small:test\nCOPY none /x\n", ["'none' is not in the build context", "Dockerfile:2"]),
        ("FROM small:test\nCOPY hidden /x\n", ["the .dockerignore leaves it out"]),
        ("FROM small:test\nCOPY --from=small:test /none /x\n", ["'/none' is not in"]),
        ("FROM small:test\nCOPY --chown=nobodyknows a /x\n", ["nobodyknows", "useradd"]),
        ("FROM small:test\nRUN --mount=type=secret,id=t,required=true true\n", ["the secret t is required"]),
        ("FROM small:test\nRUN --network=host true\n", ["network.host"]),
        ("FROM small:test\nRUN --security=insecure true\n", ["security.insecure"]),
        ("FROM small:test\nUSER nobodyknows\nRUN true\n", ["nobodyknows"]),
        ("FROM small:test\nFRUM x\n", ["FRUM", "Dockerfile:2"]),
    ],
)
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_what_cannot_be_built_is_explained(builder: Builder, text: str, words: list[str]) -> None:
    builder.write(a="a", hidden="h", _DOT_dockerignore="hidden\n")
    said = builder.fail(text)
    for word in words:
        assert word in said


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_independent_stages_run_at_once(builder: Builder) -> None:
    stages = "".join(f"FROM small:test AS s{n}\nRUN sleep 1.2; echo {n} > /{n}\n" for n in range(3))
    copies = "".join(f"COPY --from=s{n} /{n} /\n" for n in range(3))
    started_s = time.monotonic()
    builder.build(f"{stages}FROM small:test\n{copies}", "--no-cache")
    assert time.monotonic() - started_s < 3.4


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_two_builds_at_once_do_the_work_once(builder: Builder) -> None:
    text = (
        "FROM small:test\nRUN --mount=type=cache,id=shared-work,target=/c sleep 1; echo x >> /c/log; cp /c/log /log\n"
    )
    arguments = builder.arguments(text, "-t", "both:1")
    both = [builder.carboy.start(*arguments) for _ in range(2)]
    ended = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(json.loads(out)["steps"][1]["cached"] for out, _ in ended) == [False, True]
    assert builder.run("both:1", "cat", "/log") == "x\n"


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_a_killed_build_loses_nothing(builder: Builder) -> None:
    text = "FROM small:test\nRUN echo done > /done\nRUN echo begun; sleep 60\n"
    process = builder.carboy.start(*builder.arguments(text))
    assert process.stderr is not None
    for line in process.stderr:
        if "begun" in line and "RUN" not in line:
            break
    process.kill()
    process.communicate()
    again = builder.build(text.replace("sleep 60", "true"))
    assert again.steps["[2/3] RUN echo done > /done"]


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_what_is_done_again_is_the_same(builder: Builder) -> None:
    builder.write(hello_DOT_sh=HELLO)
    digests = {
        builder.build(STAGES, "--no-cache", variables={"SOURCE_DATE_EPOCH": epoch}).digest
        for epoch in ("86400", "86400", "90000")
    }
    assert len(digests) == 2


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_no_byte_of_a_secret_stays(builder: Builder) -> None:
    canary, proxy = "canary-7c1f0e", "canary-proxy-99"
    built = builder.build(
        "FROM small:test\n"
        'RUN --mount=type=secret,id=tok,env=TOK --mount=type=secret,id=tok test "$TOK" = "$(cat /run/secrets/tok)"'
        " && echo $TOK && echo $HTTP_PROXY | grep -q proxy\n",
        "--secret",
        "id=tok,env=CANARY",
        "-t",
        "secret:1",
        variables={"HTTP_PROXY": f"http://{proxy}:1", "CANARY": canary},
    )
    assert canary not in built.log
    home = builder.carboy.home
    for path in home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            assert canary.encode() not in data, path
            assert proxy.encode() not in data, path


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_caches_by_sharing(builder: Builder) -> None:
    mount = "--mount=type=cache,id=../../own,target=/c,sharing=%s,mode=0700,uid=5"
    step = f"RUN {mount} stat -c '%%a %%u' /c; echo x >> /c/log; wc -l < /c/log\n"
    built = builder.build("FROM small:test\n" + step % "shared" + step % "locked" + step % "private")
    lines = [line.split(" ", 2)[2] for line in built.log.splitlines() if line.count(" ") >= 2]
    assert [line for line in lines if line in {"1", "2", "3", "700 5"}] == ["700 5", "1", "700 5", "2", "700 5", "3"]


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_named_contexts_and_hosts(builder: Builder) -> None:
    other = builder.folder / "other"
    builder.write(other__file="of the other")
    built = builder.build(
        "FROM small:test\nCOPY --from=lib file /f\nRUN cat /f; grep 10.9.8.7 /etc/hosts; hostname\n",
        "--build-context",
        f"lib={other}",
        "--add-host",
        "far:10.9.8.7",
    )
    for words in ("of the other", "10.9.8.7\tfar", "buildkitsandbox"):
        assert words in built.log


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_the_hosts_packages_are_in_nobodys_way(builder: Builder) -> None:
    folder = builder.folder.with_name("packages-of-the-host") / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "some.whl").write_text("canary-wheel")
    parent = str(folder.parent)
    text = (
        "FROM small:test\n"
        f"RUN ! test -e {parent} && mkdir -p {folder} && rm -r {parent}\n"
        'RUN if test -n "$PIP_FIND_LINKS"; then ls $PIP_FIND_LINKS && ! rm $PIP_FIND_LINKS/some.whl; fi\n'
    )
    without = builder.build(text, "-t", "packages:1", variables={"PIP_FIND_LINKS": "", "PIP_CONFIG_FILE": "/dev/null"})
    again = {"PIP_FIND_LINKS": str(folder), "PIP_CONFIG_FILE": "/dev/null"}
    assert builder.build(text, "-t", "packages:1", variables=again).cached
    anew = builder.build(text, "-t", "packages:1", "--no-cache", variables=again)
    assert "some.whl" in anew.log
    assert anew.digest == without.digest
    assert "carboy" not in builder.run("packages:1", "ls", "-R", "/run")
