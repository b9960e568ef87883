"""The traps of the language that show when stages become a graph; numbers as in ``tests/unit/dockerfile/test_traps.py``."""

from __future__ import annotations

from typing import Any

import pytest
from converting import AMD64, ARM64, CONTEXT, Images, chain, image, last_copy, last_run, texts

from carboy.build.dockerfile.given import NamedImage
from carboy.build.front import choose_front
from carboy.build.graph import ops
from carboy.dockerfile.errors import DockerfileError
from carboy.dockerfile.scope import DEFAULT_PATH
from carboy.errors import CarboyError
from carboy.oci.config import RunConfig
from carboy.oci.digest import Digest


def config(text: str, **given: Any) -> RunConfig:
    made = image(text, **given).config
    assert isinstance(made, RunConfig)
    return made


def test_trap_09_env_uses_the_old_value_and_arg_the_new_one() -> None:
    assert config("FROM debian\nENV a=0\nENV a=1 b=$a\n").Env == ["PATH=/bin", "LANG=C", "a=1", "b=0"]
    assert last_run(image("FROM debian\nARG a=1 b=$a\nRUN x\n")).env[-2:] == ("a=1", "b=1")


def test_trap_10_an_arg_after_env_wins_for_commands_of_that_stage_only() -> None:
    made = image("FROM debian AS a\nENV X=env\nARG X=arg\nRUN x\nFROM a\nRUN y\n")
    first, second = (state for state in chain(made) if isinstance(state, ops.Run))
    assert "X=arg" in first.env
    assert "X=env" in second.env
    assert made.config.Env == ["PATH=/bin", "LANG=C", "X=env"]


def test_trap_11_a_default_hides_the_global_value() -> None:
    text = "ARG V=global\nFROM debian\nARG V=stage\nARG TARGETARCH=other\nRUN x\n"
    assert last_run(image(text)).env[-2:] == ("V=stage", "TARGETARCH=other")
    assert last_run(image("ARG V=global\nFROM debian\nARG V TARGETARCH\nRUN x\n")).env[-2:] == (
        "V=global",
        "TARGETARCH=amd64",
    )


def test_trap_12_an_unused_arg_is_environment_of_what_follows() -> None:
    text = "FROM debian\nRUN a\nARG UNUSED\nRUN b\n"
    first, second = (state for state in chain(image(text, build_args={"UNUSED": "1"})) if isinstance(state, ops.Run))
    assert "UNUSED=1" not in first.env
    assert "UNUSED=1" in second.env


def test_trap_13_a_default_is_not_looked_at_when_a_value_is_given() -> None:
    text = "FROM debian\nARG X=${Y:?no}\nRUN x\n"
    assert last_run(image(text, build_args={"X": "1"})).env[-1] == "X=1"
    with pytest.raises(DockerfileError, match="Y: no"):
        image(text)


def test_trap_20_only_what_the_target_needs_is_asked_for() -> None:
    images = Images()
    image(
        "FROM nowhere AS unused\nRUN x\nFROM debian AS used\nFROM used\nFROM alsonowhere\n", images=images, target="2"
    )
    assert images.asked == [("debian", None)]
    with pytest.raises(CarboyError, match="there is no image nowhere"):
        image("FROM nowhere\n")
    with pytest.raises(DockerfileError, match="failed to parse stage name"):
        image("FROM In:Valid:Name AS unused\nFROM debian\n")
    with pytest.raises(DockerfileError, match="COPY requires at least two"):
        image("FROM debian\nCOPY x\nFROM debian\n")


def test_trap_21_a_later_stage_is_refused_and_a_circle_found_first() -> None:
    with pytest.raises(
        DockerfileError, match='cannot copy from stage "b", it needs to be defined before current stage "a"'
    ):
        image("FROM debian AS a\nCOPY --from=b x y\nFROM debian AS b\n", target="a")
    with pytest.raises(DockerfileError, match="circular dependency"):
        image("FROM debian AS a\nCOPY --from=b x y\nFROM a AS b\n")


def test_trap_22_a_named_context_comes_before_images_and_stages() -> None:
    contexts = {"debian::linux/amd64": NamedImage(image="exact"), "debian": NamedImage(image="other")}
    images = Images(exact=RunConfig(), other=RunConfig())
    image("FROM debian:latest\n", images=images, contexts=contexts)
    image("FROM debian\n", images=images, contexts={"debian": contexts["debian"]})
    assert [name for name, _ in images.asked] == ["exact", "other"]


def test_trap_23_an_entrypoint_clears_an_inherited_cmd() -> None:
    assert config('FROM debian\nENTRYPOINT ["x"]\n').Cmd is None
    assert config('FROM debian\nCMD ["y"]\nENTRYPOINT ["x"]\n').Cmd == ["y"]
    assert config('FROM debian AS a\nCMD ["y"]\nFROM a\nENTRYPOINT ["x"]\n').Cmd is None


def test_trap_24_empty_commands_clear_and_vanish() -> None:
    images = Images(full=RunConfig(Cmd=["a"], Entrypoint=["b"]))
    made = image("FROM full\nCMD []\nENTRYPOINT []\n", images=images)
    assert (made.config.Cmd, made.config.Entrypoint) == (None, None)
    assert texts(made) == ["CMD []", "ENTRYPOINT []"]


def test_trap_25_the_shell_is_the_images() -> None:
    images = Images(other=RunConfig(Shell=["/bin/ash", "-x"]))
    made = image("FROM other AS a\nFROM a\nRUN r\nCMD c\n", images=images)
    assert last_run(made).args == ("/bin/ash", "-x", "r")
    assert (made.config.Cmd, made.config.ArgsEscaped) == (["/bin/ash", "-x", "c"], True)
    assert not config("FROM debian\n").ArgsEscaped


def test_trap_26_dockers_extensions_are_kept() -> None:
    images = Images(other=RunConfig(Healthcheck={"Test": ["NONE"]}, Shell=["sh"], ArgsEscaped=True))
    made = config("FROM other\nONBUILD RUN x\n", images=images)
    assert (made.Healthcheck, made.Shell, made.OnBuild, made.ArgsEscaped) == (
        {"Test": ["NONE"]},
        ["sh"],
        ["RUN x"],
        True,
    )


def test_trap_27_triggers_run_first_and_once() -> None:
    images = Images(trigger=RunConfig(OnBuild=["ENV A=1", "RUN a $A"]))
    made = image("FROM trigger AS a\nRUN b\nFROM a\nRUN c\n", images=images)
    runs = [state for state in chain(made) if isinstance(state, ops.Run)]
    assert [run.args[-1] for run in runs] == ["a $A", "b", "c"]
    assert runs[0].title == "[a 2/3] ONBUILD RUN a 1"
    assert made.config.OnBuild is None
    assert texts(made)[0] == "ENV A=1"
    same_file = image("FROM debian AS a\nONBUILD RUN t\nRUN b\nFROM a\nRUN c\nFROM 1x\n".replace("FROM 1x\n", ""))
    assert [run.args[-1] for run in chain(same_file) if isinstance(run, ops.Run)] == ["b", "t", "c"]
    assert texts(same_file) == [f"RUN /bin/sh -c {name} # buildkit" for name in "btc"]
    with pytest.raises(DockerfileError, match=r"unknown instruction: NOPE.*in the ONBUILD trigger"):
        image("FROM bad\n", images=Images(bad=RunConfig(OnBuild=["NOPE x"])))


def test_trap_27_triggers_may_need_stages_and_images() -> None:
    images = Images(
        trigger=RunConfig(OnBuild=["COPY --from=build /x /y", "COPY --from=other /x /y"]), other=RunConfig()
    )
    made = image("FROM debian AS build\nRUN b\nFROM trigger\n", images=images)
    last = last_copy(made)
    first = last.parent
    assert isinstance(first, ops.Copy)
    assert isinstance(first.items[0].origin, ops.Run)
    assert isinstance(last.items[0].origin, ops.Base)


def test_trap_28_triggers_have_the_default_escape() -> None:
    images = Images(trigger=RunConfig(OnBuild=["RUN <<E cat\na \\\nE"]))
    run = last_run(image("# escape=`\nFROM trigger\n", images=images))
    assert run.args[-1] == "<<E cat\na \\\nE"


def test_trap_30_workdir_is_a_layer_of_the_users() -> None:
    made = image("FROM debian\nUSER me\nWORKDIR /a\nWORKDIR b\nWORKDIR /\n")
    folder = made.state
    assert isinstance(folder, ops.MakeFolder)
    assert (folder.path, folder.user, folder.mode) == ("/a/b", "me", 0o755)
    assert [(line.created_by, line.state is None) for line in made.history] == [
        ("USER me", True), ("WORKDIR /a", False), ("WORKDIR /a/b", False), ("WORKDIR /", True),
    ]  # fmt: skip


def test_trap_31_a_user_is_not_looked_up_before_it_runs() -> None:
    assert config("FROM debian\nUSER nobody-knows:them\n").User == "nobody-knows:them"


@pytest.mark.parametrize("mode", ["0", "600", "0755", "7777", "u=rwX,go=rX", "+x", "a-w", "u+s,g=u", "-w"])
def test_trap_38_modes(mode: str) -> None:
    assert last_copy(image(f"FROM debian\nCOPY --chmod={mode} a b\n")).chmod == mode


def test_trap_39_a_wildcard_may_match_nothing_and_a_document_is_none() -> None:
    copy = last_copy(image("FROM debian\nCOPY a*.txt plain <<E /x/\nE\n"))
    assert [(item.path, item.wildcards) for item in copy.items] == [("a*.txt", True), ("plain", True), ("E", False)]


def test_trap_41_sources_are_left_as_they_are_written() -> None:
    copy = last_copy(image("FROM debian\nCOPY /a ../b ./c/ /x\n"))
    assert [item.path for item in copy.items] == ["/a", "../b", "./c/"]


@pytest.mark.parametrize(
    ("written", "destination"),
    [
        ("x", "/w/x"),
        ("x/", "/w/x/"),
        (".", "/w/"),
        ("./", "/w/"),
        ("/y/.", "/y/"),
        ("/y/../z", "/z"),
        ("/", "/"),
        ("../v", "/v"),
        ("$E", "/w/"),
    ],
)
def test_trap_42_the_end_of_a_destination_matters(written: str, destination: str) -> None:
    copy = last_copy(image(f"FROM debian\nWORKDIR /w\nENV E=\nCOPY a {written}\n"))
    assert copy.destination == destination


def test_trap_45_link_goes_with_chmod() -> None:
    assert last_copy(image("FROM debian\nCOPY --link a b\n")).link
    assert not last_copy(image("FROM debian\nCOPY --link --chmod=600 a b\n")).link


def test_trap_46_parents_keep_their_pivot() -> None:
    made = image("FROM debian\nCOPY --parents a/./b/** /x/\n")
    copy = last_copy(made)
    assert (copy.parents, copy.items[0].path) == (True, "a/./b/**")
    assert texts(made) == ["COPY --parents a/./b/** /x/ # buildkit"]


def test_trap_47_what_is_excluded_is_compiled() -> None:
    copy = last_copy(image("FROM debian\nCOPY --exclude=*.txt --exclude=!a.txt d /x/\n"))
    assert copy.exclude == ("*.txt", "!a.txt")
    assert copy.excluded is not None
    assert copy.excluded.matches("b.txt", is_folder=False)
    assert not copy.excluded.matches("a.txt", is_folder=False)


def test_trap_48_add_unpacks_archives_of_the_context() -> None:
    assert last_copy(image("FROM debian\nADD a /x\n")).items[0].unpack == "auto"
    assert last_copy(image("FROM debian\nADD --unpack=false a /x\n")).items[0].unpack == "never"


def test_trap_49_add_fetches_files() -> None:
    digest = Digest.of(b"")
    copy = last_copy(image(f"FROM debian\nADD --checksum={digest} https://host/a/b%20c.tar?x=1 /x/\n"))
    (item,) = copy.items
    assert isinstance(item.origin, ops.Http)
    assert (item.origin.url, item.origin.filename) == ("https://host/a/b%20c.tar?x=1", "b c.tar")
    assert (item.origin.checksum, item.origin.mode, item.unpack, item.path) == (digest, 0o600, "never", "b c.tar")
    assert last_copy(image("FROM debian\nADD --unpack=true https://host/a /x/\n")).items[0].unpack == "auto"
    unnamed = last_copy(image("FROM debian\nADD https://host/ /x/\n")).items[0].origin
    assert isinstance(unnamed, ops.Http)
    assert unnamed.filename == "__unnamed__"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("https://h/a/b.git", ("https://h/a/b.git", "", "", "", False)),
        ("https://h/a/b.git#v1:sub/x", ("https://h/a/b.git", "v1", "sub/x", "", False)),
        ("git@h:a/b.git#main", ("git@h:a/b.git", "main", "", "", False)),
        ("git@h:a/b?branch=x", ("git@h:a/b", "refs/heads/x", "", "", False)),
        ("ssh://u@h:22/a?tag=v1&subdir=s&keep-git-dir", ("ssh://u@h:22/a", "refs/tags/v1", "s", "", True)),
        ("https://h/b.git?ref=abc&checksum=abc123", ("https://h/b.git", "abc", "", "abc123", False)),
        ("https://h/b.git?commit=abc123", ("https://h/b.git", "abc123", "", "abc123", False)),
    ],
)
def test_trap_50_repositories(source: str, expected: tuple[str, str, str, str, bool]) -> None:
    origin = last_copy(image(f"FROM debian\nADD {source} /x\n")).items[0].origin
    assert isinstance(origin, ops.Git)
    assert (origin.url, origin.ref, origin.subdir, origin.checksum, origin.keep_git_dir) == expected


def test_trap_50_no_repositories() -> None:
    assert isinstance(last_copy(image("FROM debian\nADD https://h/a/b /x\n")).items[0].origin, ops.Http)
    assert last_copy(image("FROM debian\nADD b.git /x\n")).items[0].origin is CONTEXT
    keep = last_copy(image("FROM debian\nADD --keep-git-dir git@h:a/b /x\n")).items[0].origin
    assert isinstance(keep, ops.Git)
    assert keep.keep_git_dir


def test_trap_55_ports() -> None:
    made = image("FROM debian\nENV P='90 80-81'\nEXPOSE $P 0.0.0.0:1:7/Sctp\n")
    assert list(made.config.ExposedPorts) == ["90/tcp", "80/tcp", "81/tcp", "7/sctp"]
    assert texts(made)[-1] == "EXPOSE [90/tcp 80/tcp 81/tcp 7/sctp]"


def test_trap_56_a_volume_changes_no_files() -> None:
    made = image("FROM debian\nVOLUME /v\nRUN touch /v/x\n")
    assert last_run(made).mounts == ()
    assert made.config.Volumes == {"/v": {}}


def test_trap_57_a_signal_is_stored_as_written() -> None:
    assert config("FROM debian\nSTOPSIGNAL sigterm\n").StopSignal == "sigterm"
    assert config("FROM debian\nSTOPSIGNAL 9\n").StopSignal == "9"


def test_trap_59_path_is_always_there() -> None:
    assert config("FROM scratch\n").Env == [f"PATH={DEFAULT_PATH}"]
    assert last_run(image("FROM bare\nRUN x\n", images=Images(bare=RunConfig(Env=["A=1"])))).env == (
        "A=1", f"PATH={DEFAULT_PATH}",
    )  # fmt: skip


def test_trap_62_proxies_are_not_part_of_the_key() -> None:
    args = {"http_proxy": "http://p", "OTHER": "x"}
    made = image("FROM debian\nRUN x\n", build_args=args)
    run = last_run(made)
    assert run.unkeyed_env == ("HTTP_PROXY=http://p", "http_proxy=http://p")
    assert "p" not in "".join(run.env).replace("PATH=/bin", "")
    assert texts(made) == ["RUN /bin/sh -c x # buildkit"]
    declared = image("FROM debian\nARG http_proxy\nRUN x\n", build_args=args)
    assert last_run(declared).env[-1] == "http_proxy=http://p"
    assert last_run(declared).unkeyed_env == ("HTTP_PROXY=http://p",)
    assert texts(declared)[-1] == "RUN |1 http_proxy=http://p /bin/sh -c x # buildkit"


def test_trap_63_secrets_are_optional_and_a_variable_is_no_file() -> None:
    run = last_run(
        image("FROM debian\nRUN --mount=type=secret,id=a --mount=type=secret,id=b,env=B --mount=type=ssh x\n")
    )
    first, second, agent = run.mounts
    assert first == ops.SecretMount(id="a", target="/run/secrets/a", required=False)
    assert second == ops.SecretMount(id="b", target=None, env="B", required=False)
    assert agent == ops.SshMount(target="/run/buildkit/ssh_agent.0", required=False)


def test_trap_64_history_as_tools_know_it() -> None:
    text = (
        'ARG G=g\nFROM debian\nARG A=1\nARG G N\nENV A=2\nRUN ["a", "b c"]\n'
        "COPY --chown=u:g --chmod=600 --link --exclude=x s d\nADD --checksum= <<E f /d/\nE\n"
    )
    assert texts(image(text)) == [
        "ARG A=1",
        "ARG G=g N",
        "ENV A=2",
        "RUN |3 A=2 G=g N= a b c # buildkit",
        "COPY --chown=u:g --chmod=600 s d # buildkit",
        "ADD f <<E /d/ # buildkit",
    ]


def test_trap_66_platforms() -> None:
    images = Images()
    made = image("FROM --platform=arm64 debian\n", images=images)
    assert images.asked == [("debian", ARM64)]
    assert made.platform == ARM64
    asked = image("FROM --platform=linux/arm64 debian\n", platform=AMD64, platform_given=True)
    assert asked.platform == AMD64
    text = "FROM --platform=$BUILDPLATFORM debian\nARG TARGETPLATFORM TARGETSTAGE\nRUN x\n"
    run = last_run(image(text, platform=ARM64, platform_given=True))
    assert run.env[-2:] == ("TARGETPLATFORM=linux/arm64", "TARGETSTAGE=default")


def test_trap_67_the_lower_case_name_is_looked_for_when_none_is_given() -> None:
    assert choose_front(["dockerfile"]).file == "dockerfile"
    assert choose_front(["dockerfile", "Dockerfile"]).file == "Dockerfile"
    assert choose_front(["dockerfile"], file="Dockerfile").file == "Dockerfile"


def test_trap_68_labels_of_the_request_come_last() -> None:
    made = image("FROM debian\nLABEL a=file b=file\n", labels={"a": "request"})
    assert made.config.Labels == {"a": "request", "b": "file"}
    assert texts(made) == ["LABEL a=file b=file"]
