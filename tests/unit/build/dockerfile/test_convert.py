"""A Dockerfile to its graph: operations, configuration, history, and what is refused."""

from __future__ import annotations

import pytest
from converting import CONTEXT, Images, chain, image, last_copy, last_run, texts
from hypothesis import given
from hypothesis import strategies as st

from carboy.build.dockerfile.convert import check_syntax
from carboy.build.dockerfile.given import NamedImage
from carboy.build.graph import ops
from carboy.dockerfile.errors import DockerfileError
from carboy.dockerfile.parser import parse
from carboy.dockerfile.scope import DEFAULT_PATH
from carboy.errors import CarboyError
from carboy.oci.config import RunConfig


def test_a_plain_file() -> None:
    made = image('FROM debian\nWORKDIR /app\nCOPY a b ./\nRUN make\nUSER 1000\nCMD ["./run", "x"]\n')
    base, folder, copy, run = chain(made)
    assert isinstance(base, ops.Base)
    assert isinstance(folder, ops.MakeFolder)
    assert isinstance(copy, ops.Copy)
    assert isinstance(run, ops.Run)
    assert (base.image.name, base.title) == ("debian", "[1/4] FROM debian")
    assert (folder.path, folder.user, folder.title) == ("/app", "", "[2/4] WORKDIR /app")
    assert [(item.origin, item.path, item.wildcards, item.unpack) for item in copy.items] == [
        (CONTEXT, "a", True, "never"),
        (CONTEXT, "b", True, "never"),
    ]
    assert (copy.destination, copy.title) == ("/app/", "[3/4] COPY a b ./")
    assert (run.args, run.cwd, run.user) == (("/bin/sh", "-c", "make"), "/app", "")
    assert run.env == ("PATH=/bin", "LANG=C")
    assert run.location == ops.Location(file="Dockerfile", first_line=4, last_line=4, text="RUN make")
    assert made.config == RunConfig(
        Env=["PATH=/bin", "LANG=C"], Cmd=["./run", "x"], WorkingDir="/app", User="1000", ArgsEscaped=True
    )
    assert [(line.created_by, line.state) for line in made.history] == [
        ("WORKDIR /app", folder),
        ("COPY a b ./ # buildkit", copy),
        ("RUN /bin/sh -c make # buildkit", run),
        ("USER 1000", None),
        ('CMD ["./run" "x"]', None),
    ]
    assert {line.comment for line in made.history} == {"buildkit.dockerfile.v0"}
    assert made.author == "them"


def test_stages_are_shared_and_named() -> None:
    text = "FROM debian AS base\nRUN a\nFROM base AS b\nRUN b\nFROM base\nCOPY --from=b /x /y\n"
    made = image(text)
    copy = last_copy(made)
    (item,) = copy.items
    assert isinstance(item.origin, ops.Run)
    assert item.origin.parent is copy.parent
    assert item.origin.title == "[b 1/1] RUN b"
    assert copy.title == "[stage-2 1/1] COPY --from=b /x /y"
    assert [state.title for state in chain(made)] == ["[base 1/2] FROM debian", "[base 2/2] RUN a", copy.title]
    assert texts(made) == ["RUN /bin/sh -c a # buildkit", "COPY /x /y # buildkit"]


def test_what_changes_the_configuration() -> None:
    text = """FROM scratch
MAINTAINER Me <me@example.org>
ENV A=1 B="x y"
ENV A=2
LABEL a=b "c d"=$A
EXPOSE 80 9000-9001/UDP 127.0.0.1:8080:81
VOLUME /a ["/b"]
VOLUME ["/c d"]
STOPSIGNAL SIGRTMIN+3
HEALTHCHECK --interval=5m --retries=3 CMD curl -f localhost
SHELL ["/bin/bash", "-ec"]
ENTRYPOINT run $A
CMD x
ONBUILD RUN later
USER $A:$B
"""
    made = image(text)
    assert made.config == RunConfig(
        User="2:x y",
        Env=[f"PATH={DEFAULT_PATH}", "A=2", "B=x y"],
        Labels={"a": "b", "c d": "2"},
        ExposedPorts={"81/tcp": {}, "80/tcp": {}, "9000/udp": {}, "9001/udp": {}},
        Volumes={"/a": {}, "[/b]": {}, "/c d": {}},
        StopSignal="SIGRTMIN+3",
        Healthcheck={"Test": ["CMD-SHELL", "curl -f localhost"], "Interval": 300 * 10**9, "Retries": 3},
        Shell=["/bin/bash", "-ec"],
        Entrypoint=["/bin/bash", "-ec", "run $A"],
        Cmd=["/bin/bash", "-ec", "x"],
        OnBuild=["RUN later"],
        ArgsEscaped=True,
        WorkingDir="/",
    )
    assert made.author == "Me <me@example.org>"
    assert texts(made) == [
        "MAINTAINER Me <me@example.org>",
        "ENV A=1 B=x y",
        "ENV A=2",
        "LABEL a=b c d=2",
        "EXPOSE [81/tcp 80/tcp 9000/udp 9001/udp]",
        "VOLUME [/a [/b]]",
        "VOLUME [/c d]",
        "STOPSIGNAL SIGRTMIN+3",
        "HEALTHCHECK {Test:[CMD-SHELL curl -f localhost] Interval:5m0s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}",
        "SHELL [/bin/bash -ec]",
        'ENTRYPOINT ["/bin/bash" "-ec" "run $A"]',
        'CMD ["/bin/bash" "-ec" "x"]',
        "USER 2:x y",
    ]


def test_documents_that_run() -> None:
    made = image(
        "FROM debian\nRUN <<E\na\nb\nE\nRUN <<E\n#!/usr/bin/python3\nprint()\nE\nRUN cat <<-A <<B\n\tx\n\tA\ny\nB\n"
    )
    first, script, mixed = (state for state in chain(made) if isinstance(state, ops.Run))
    assert (first.args, first.files) == (("/bin/sh", "-c", "a\nb\n"), ())
    assert first.title == "[2/4] RUN <<E (a...)"
    assert script.args == ("/bin/sh", "-c", "/dev/pipes/E")
    assert script.files == (ops.InlineFile(name="E", content=b"#!/usr/bin/python3\nprint()\n", mode=0o755),)
    assert mixed.args == ("/bin/sh", "-c", "cat <<-A <<B\n\tx\nA\ny\nB")


def test_documents_that_are_files() -> None:
    copy = last_copy(image("FROM debian\nENV V=1\nCOPY <<a <<'b' c /x/\n$V\na\n$V\nb\n"))
    origins = [item.origin for item in copy.items]
    assert origins[0] is CONTEXT
    assert [o.files for o in origins if isinstance(o, ops.InlineFiles)] == [
        (ops.InlineFile(name="a", content=b"1\n"),),
        (ops.InlineFile(name="b", content=b"$V\n"),),
    ]
    assert [item.path for item in copy.items] == ["c", "a", "b"]


def test_mounts() -> None:
    text = """FROM debian AS tool
FROM debian
WORKDIR /w
ARG D=data
RUN --mount=type=cache,target=/root/.cache/ --mount=type=cache,id=x,target=c,sharing=locked,mode=0700,uid=1 \\
    --mount=source=$D,target=/in --mount=from=tool,source=/bin,target=/t,rw --mount=from=other,target=/o \\
    --mount=type=tmpfs,target=/tmp/x,size=1m --mount=type=secret,id=s --mount=type=secret,id=e,env=E,required \\
    --mount=type=secret,target=/k/f,mode=0444 --mount=type=ssh --mount=type=ssh,id=two --network=none make
"""
    made = image(text, images=Images(other=RunConfig()))
    run = last_run(made)
    cache, second, source, tool, other, tmpfs, secret, env, file, ssh, two = run.mounts
    assert cache == ops.CacheMount(target="/root/.cache", id="/root/.cache")
    assert second == ops.CacheMount(target="/w/c", id="x", sharing="locked", mode=0o700, uid=1)
    assert source == ops.BindMount(target="/in", origin=CONTEXT, source="/data")
    assert isinstance(tool, ops.BindMount)
    assert isinstance(tool.origin, ops.Base)
    assert (tool.source, tool.read_only) == ("/bin", False)
    assert isinstance(other, ops.BindMount)
    assert isinstance(other.origin, ops.Base)
    assert (other.origin.image.name, other.source) == ("other", "/")
    assert tmpfs == ops.TmpfsMount(target="/tmp/x", size_bytes=2**20)
    assert secret == ops.SecretMount(id="s", target="/run/secrets/s")
    assert env == ops.SecretMount(id="e", target=None, env="E", required=True)
    assert file == ops.SecretMount(id="f", target="/k/f", mode=0o444)
    assert ssh == ops.SshMount(target="/run/buildkit/ssh_agent.0")
    assert two == ops.SshMount(target="/run/buildkit/ssh_agent.1", id="two")
    assert run.network == "none"


def test_named_contexts() -> None:
    folder = ops.LocalContext(name="lib")
    contexts = {"lib": folder, "debian:12": NamedImage(image="debian"), "build": folder}
    text = "FROM debian:12\nCOPY --from=lib a /a\n"
    copy = last_copy(image(text, contexts=contexts))
    assert copy.items[0].origin is folder
    assert isinstance(copy.parent, ops.Base)
    assert copy.parent.image.name == "debian"
    replaced = last_copy(
        image("FROM nothing AS build\nRUN x\nFROM debian\nCOPY --from=build /a /b\n", contexts=contexts)
    )
    loaded = replaced.items[0].origin
    assert isinstance(loaded, ops.Copy)
    assert isinstance(loaded.parent, ops.Scratch)
    assert loaded.items[0].origin is folder


def test_what_a_replaced_stage_needs_is_not_needed() -> None:
    text = "FROM nowhere AS a\nFROM debian AS build\nCOPY --from=a x y\nFROM build\n"
    images = Images()
    image(text, images=images, contexts={"build": NamedImage(image="debian")})
    assert images.asked == [("debian", None)]


def test_no_cache_for_all_or_some() -> None:
    text = "FROM debian AS a\nRUN x\nFROM debian AS b\nCOPY --from=a /x /y\n"
    copy = last_copy(image(text, no_cache_stages=frozenset({"a"})))
    origin = copy.items[0].origin
    assert isinstance(origin, ops.Run)
    assert (origin.no_cache, copy.no_cache) == (True, False)
    assert last_copy(image(text, no_cache=True)).no_cache


@pytest.mark.parametrize(
    ("text", "message", "line"),
    [
        ("FROM $X\n", r"base name \(\$X\) should not be blank", 1),
        ("FROM Debian\n", 'failed to parse stage name "Debian"', 1),
        ("FROM --platform=mars debian\n", 'failed to parse platform "mars"', 1),
        ("FROM debian\nCOPY --from=9 a b\n", "invalid stage index 9", 2),
        ("FROM debian\nCOPY --chmod=999 a b\n", "invalid chmod parameter: '999'", 2),
        ("FROM debian\nCOPY --chmod=u=q a b\n", "invalid chmod parameter", 2),
        ("FROM debian\nCOPY https://host/x /y\n", "source can't be a URL for COPY", 2),
        ("FROM debian\nCOPY https://host/x.git /y\n", "source can't be a git ref for COPY", 2),
        ("FROM debian\nADD --checksum=sha256:00 a /y\n", r"checksum requires HTTP\(S\) or Git sources", 2),
        ("FROM debian\nADD --checksum=sha256:00 https://host/x /y\n", "is not a digest", 2),
        ("FROM debian\nADD --checksum=x https://host/x https://host/y /y\n", "multiple sources", 2),
        ("FROM debian\nADD git@host:a/b.git?what=1 /y\n", 'unexpected query "what"', 2),
        ("FROM debian\nADD --keep-git-dir=false https://h/a.git?keep-git-dir=1 /y\n", "inconsistent keep-git-dir", 2),
        ("FROM debian\nEXPOSE 80/http\n", "invalid proto: http", 2),
        ("FROM debian\nEXPOSE 70000\n", "invalid containerPort: 70000", 2),
        ("FROM debian\nEXPOSE 9-8\n", "invalid containerPort: 9-8", 2),
        ("FROM debian\nSTOPSIGNAL SIGNONE\n", "invalid signal: SIGNONE", 2),
        ("FROM debian\nVOLUME $NONE\n", "VOLUME specified can not be an empty string", 2),
        ("FROM debian\nRUN --mount=target=/ x\n", 'invalid mount target "/"', 2),
        ("FROM debian\nRUN --mount=type=$NONE,target=/x y\n", 'unsupported mount type ""', 2),
        ("FROM debian\nRUN --network=host x\n", "network.host is not allowed", 2),
        ("FROM debian\nRUN --security=insecure x\n", "security.insecure is not allowed", 2),
        ("FROM debian\nCOPY <<a/b /x\na/b\n", "a document cannot be called a/b", 2),
        ("FROM debian\nCOPY ${A:?needed} /x\n", "A: needed", 2),
    ],
)
def test_what_is_refused_is_shown_where_it_stands(text: str, message: str, line: int) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        image(text)
    assert caught.value.line == line
    assert "^" in caught.value.details


def test_a_target_that_is_not_there() -> None:
    with pytest.raises(DockerfileError, match=r'target stage "buidl" could not be found \(did you mean build\?\)'):
        image("FROM debian AS build\n", target="buidl")


def test_rights_that_were_given() -> None:
    run = last_run(
        image(
            "FROM debian\nRUN --network=host --security=insecure x\n",
            allow=frozenset({"network.host", "security.insecure"}),
        )
    )
    assert (run.network, run.security) == ("host", "insecure")


def test_secrets_are_masked_in_titles() -> None:
    run = last_run(image("FROM debian\nENV A=1\nRUN --mount=type=secret,id=t,env=T echo $T $A '$A' $B\n"))
    assert run.title == "[2/2] RUN --mount=type=secret,id=t,env=T echo **** 1 '$A' $B"


PIECES = """FROM debian|FROM debian AS a|FROM a AS b|FROM $B|ARG A=1|ARG B=debian|ENV A=$A B|ENV X=${A:-y}|RUN x|RUN <<E
E
RUN --mount=from=a,target=/x y|RUN --mount=type=cache,target=$A z|COPY --from=a x y|COPY --from=1 x /y/|COPY . .
ADD https://h/x /y|WORKDIR $X|USER $A|ONBUILD COPY x y|ONBUILD RUN z|EXPOSE $A|CMD x|CMD []
HEALTHCHECK NONE|STOPSIGNAL $A|VOLUME /v $A
ENTRYPOINT ["x"]|SHELL []|LABEL a=$B|FROM base""".replace("\n", "|").split("|")


@given(st.lists(st.sampled_from(PIECES), max_size=10), st.sampled_from(["", "a", "1"]))
def test_anything_is_converted_or_refused(lines: list[str], target: str) -> None:
    """What comes out is a graph whose history has a line for every step, in order."""
    images = Images(base=RunConfig(OnBuild=["COPY --from=a x y"]))
    try:
        made = image("\n".join(["ARG B", *lines]), images=images, target=target)
    except CarboyError:
        return
    steps = [state for state in chain(made) if isinstance(state, ops.Run | ops.Copy | ops.MakeFolder)]
    assert [line.state for line in made.history if line.state is not None] == steps
    assert all(state.title for state in steps)
    assert ops.list_ops(made.state)[-1] is made.state


def test_a_file_of_another_language() -> None:
    other = parse(b"# syntax=example/other:1\nFROM scratch\n")
    with pytest.raises(DockerfileError, match="asks for the front end example/other:1"):
        check_syntax(other, {})
    check_syntax(other, {"BUILDKIT_SYNTAX": "dockerfile.v0"})
    for own in ("docker/dockerfile:1", "docker.io/docker/dockerfile:1.7-labs", "docker/dockerfile@sha256:00"):
        check_syntax(parse(f"# syntax={own}\nFROM scratch\n".encode()), {})
