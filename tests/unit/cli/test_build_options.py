"""What ``carboy build`` is told."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import pytest

from carboy.cli.commands.build import build
from carboy.cli.commands.build_options import ADDRESS, add_options, check_python, read_request
from carboy.cli.options import Parser
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from argparse import Namespace


def parse(*words: str) -> Namespace:
    parser = Parser("build", "")
    add_options(parser)
    return parser.parse_args([*words])


def test_a_request_of_everything() -> None:
    words = (
        "ctx --build-arg A=1 --build-arg B=x=y --target T --label l=v --build-context lib=../lib --secret id=s,src=f"
        " --no-cache --no-cache-filter One,two --allow network.host --network none --add-host db:10.0.0.5"
        " --add-host six=[::1] --shm-size 64m --ulimit nofile=10:20 --platform linux/amd64"
    )
    request = read_request(parse(*words.split()), file="ctx/Dockerfile", names=("n:1", "m"))
    assert (request.context, request.file, request.names) == ("ctx", "ctx/Dockerfile", ("n:1", "m"))
    assert (request.build_args, request.labels, request.target) == ({"A": "1", "B": "x=y"}, {"l": "v"}, "T")
    assert (request.no_cache, request.no_cache_stages) == (True, {"one", "two"})
    assert (request.network, request.allow) == ("none", {"network.host"})
    assert request.add_hosts == (("db", "10.0.0.5"), ("six", "::1"))
    assert (request.shm_bytes, request.ulimits) == (64 * 2**20, (("nofile", 10, 20),))
    assert (request.contexts["lib"].value, request.secrets[0].path) == ("../lib", "f")


def test_the_dockerfile_of_an_address_is_looked_for_there() -> None:
    assert read_request(parse("https://h/a.git"), file=ADDRESS).file == ""


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["x", "--network", "shop"], "builds know"),
        (["x", "--add-host", "db"], "is not NAME:ADDRESS"),
        (["-", "-f", "-"], "both the context and the Dockerfile"),
        (["x", "--build-context", "a"], "is not name=value"),
    ],
)
def test_what_is_refused(words: list[str], told: str) -> None:
    with pytest.raises(CarboyError, match=told) as caught:
        read_request(parse(*words), file="-" if "-" in words else "x/Dockerfile")
    assert caught.value.code == 2


def test_a_folder_of_python_knows_nothing_of_them() -> None:
    check_python(parse("x"), "there is no Dockerfile")
    for option in (["--build-arg", "A=1"], ["--no-cache"], ["--target", "x"], ["--ulimit", "nofile=1"]):
        with pytest.raises(CarboyError, match=f"{option[0]} is for a Dockerfile") as caught:
            check_python(parse("x", *option), "there is no Dockerfile")
        assert (caught.value.code, caught.value.details) == (2, "there is no Dockerfile")


def test_wrong_words_end_with_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([], ["--progress", "loud", "x"]):
        with pytest.raises(SystemExit) as caught:
            build(words)
        assert caught.value.code == 2
    assert "auto, plain, tty and quiet" in capsys.readouterr().err


def test_steps_on_a_terminal() -> None:
    from carboy.cli.steps import open_steps

    stream = io.StringIO()
    with open_steps(stream, mode="tty") as progress:
        progress.step_started(1, "[1/2] FROM a")
        progress.step_started(2, "[2/2] RUN \x1b[31mx")
        for number in range(10):
            progress.step_log(2, f"line {number}")
        progress.step_finished(1, cached=True, seconds=0.1)
        progress.step_finished(2, cached=False, seconds=1.25, error="it failed")
    shown = stream.getvalue()
    assert "ok [1/2] FROM a  cached" in shown
    assert "failed [2/2] RUN \\x1b[31mx  1.2 s" in shown


def test_steps_in_a_log_and_for_nobody() -> None:
    from carboy.cli.steps import open_steps

    stream = io.StringIO()
    with open_steps(stream) as progress:
        progress.step_started(1, "[1/1] FROM a")
        progress.step_finished(1, cached=True, seconds=0)
    assert stream.getvalue() == "#1 [1/1] FROM a\n#1 CACHED\n"
    with open_steps(stream, mode="quiet") as progress:
        progress.step_started(1, "x")
    assert "x" not in stream.getvalue()
