"""Dockerfiles as a person builds them, in each tier: on the small image, without the network."""

from __future__ import annotations

import functools
import http.server
import io
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
import threading
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from conftest import Carboy

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]


@pytest.fixture
def project(small_carboy: Carboy) -> Iterator[Callable[..., str]]:
    """Return a function that writes a folder of the person's, of a Dockerfile and other files, and gives its path."""
    made: list[str] = []

    def write(dockerfile: str, **files: str) -> str:
        made.append(tempfile.mkdtemp(dir=small_carboy.temporary))
        for name, text in {"Dockerfile": dockerfile, **files}.items():
            path = Path(made[-1], name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        person = small_carboy.person
        for path in (Path(made[-1]), *Path(made[-1]).rglob("*")):
            os.chown(path, person.uid, person.gid)
        return made[-1]

    yield write
    for place in made:
        shutil.rmtree(place)


def inspect(carboy: Carboy, name: str) -> dict[str, Any]:
    (found,) = json.loads(carboy("inspect", name).stdout)
    assert isinstance(found, dict)
    return found


def run(carboy: Carboy, name: str, *words: str) -> str:
    return carboy("run", "--rm", name, *words).stdout


def test_stages_files_users_and_settings(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project(
        """# syntax=docker/dockerfile:1
ARG BASE=small:test
FROM ${BASE} AS build
WORKDIR /src
COPY . .
ARG WORD=default
RUN mkdir /out && echo "$WORD" > /out/word && ls > /out/list && pwd >> /out/list

FROM $BASE
LABEL kind=test
ENV GREETING="hello you" PATH=$PATH:/opt/bin
COPY --from=build --chmod=750 --chown=12:34 /out/ /data/
COPY <<one <<'two' /data/
$GREETING
one
$GREETING
two
RUN <<E
echo first
echo second > /data/heredoc
E
EXPOSE 8000/tcp
VOLUME /state
STOPSIGNAL SIGINT
HEALTHCHECK --interval=1m CMD true
USER 12:34
WORKDIR /data
ENTRYPOINT ["cat"]
CMD ["word"]
""",
        a="a",
        b="b",
        **{"log/x": "x", ".dockerignore": "log\nDockerfile\n.dockerignore\n"},
    )
    name = "stages:1"
    small_carboy("build", folder, "-t", name, "--build-arg", "WORD=given", "--label", "more=yes")
    assert run(small_carboy, name) == "given\n"
    assert run(small_carboy, name, "list", "one", "two", "heredoc") == "a\nb\n/src\nhello you\n$GREETING\nsecond\n"
    listed = small_carboy("run", "--rm", "--entrypoint", "stat", name, "-c", "%a %u:%g", "word", "/data").stdout
    assert listed.split("\n")[0] == "750 12:34"
    config = inspect(small_carboy, name)["Config"]
    assert config["Env"] == ["PATH=/bin:/opt/bin", "GREETING=hello you"]
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("12:34", "/data", "SIGINT")
    assert config["Labels"] == {"kind": "test", "more": "yes"}
    assert config["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 60 * 10**9}
    assert (list(config["ExposedPorts"]), list(config["Volumes"])) == (["8000/tcp"], ["/state"])


STEPS = "FROM small:test\nCOPY a /a\nRUN cp /a /b\nCOPY c /c\nRUN cat /b /c > /d\n"


def test_a_plan_says_what_is_cached(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project(STEPS, a="plan", c="2")
    steps: list[dict[str, Any]] = []

    def states() -> list[bool | None]:
        nonlocal steps
        steps = json.loads(small_carboy("plan", folder, "--json").stdout)
        assert all(step["reason"] and step["where"].startswith("Dockerfile:") for step in steps)
        return [step["cached"] for step in steps]

    assert states() == [True, False, False, False, False]
    small_carboy("build", folder, "-q")
    Path(folder, "c").write_text("3")
    assert states() == [True, True, True, False, False]
    assert [step["reason"] for step in steps[3:]] == [
        "files that it reads have changed",
        "what it stands on is not there yet",
    ]


def test_what_was_done_before_is_not_done_again(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project(STEPS, a="again", c="2")
    first = small_carboy("build", folder, "-q").stdout.strip()
    os.utime(f"{folder}/a", (1, 1))
    again = json.loads(small_carboy("build", folder, "--json").stdout)
    assert (again["digest"], [step["cached"] for step in again["steps"]]) == (first, [True] * 5)
    anew = json.loads(small_carboy("build", folder, "--json", "--no-cache").stdout)
    assert (anew["digest"], [step["cached"] for step in anew["steps"]]) == (first, [True, *[False] * 4])


def test_secrets_mounts_and_networks(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project(
        """FROM small:test AS tool
RUN echo tool > /t
FROM small:test
RUN --mount=type=secret,id=key --mount=type=secret,id=var,env=VAR --mount=from=tool,target=/tool \\
    --mount=target=/ctx --mount=type=tmpfs,target=/scratch --mount=type=cache,target=/cache --network=none \\
    cat /run/secrets/key /tool/t /ctx/a > /got && echo "$VAR" | wc -c >> /got && echo x >> /cache/x && wc -l < /cache/x >> /got \\
    && touch /scratch/x
RUN ls -A /tool /scratch /cache 2>/dev/null; test ! -e /run/secrets/key
CMD ["cat", "/got"]
""",
        a="from the context\n",
        key="s3cret\n",
    )
    options = ["--secret", f"id=key,src={folder}/key", "--secret", "id=var"]
    keeper = small_carboy.using(small_carboy.home, var="12345")
    keeper("build", folder, "-t", "mounts:1", *options)
    assert run(small_carboy, "mounts:1") == "s3cret\ntool\nfrom the context\n6\n1\n"
    assert "s3cret" not in json.dumps(inspect(small_carboy, "mounts:1"))


def test_a_cache_is_kept_between_builds(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project("FROM small:test\nRUN --mount=type=cache,id=kept,target=/c echo x >> /c/x && cp /c/x /x\n")
    for _ in range(2):
        small_carboy("build", folder, "-t", "kept:1", "--no-cache")
    assert run(small_carboy, "kept:1", "cat", "/x") == "x\nx\n"


def test_a_step_that_fails_says_where_and_what_it_printed(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project("FROM small:test\nRUN echo one && \\\n    echo two >&2; exit 7\n")
    done = small_carboy("build", folder, "-t", "never:1", expect=1)
    assert "exit" in done.stderr
    assert "7" in done.stderr
    assert "two" in done.stderr
    assert "Dockerfile:2" in done.stderr
    assert "never" not in small_carboy("images").stdout
    small_carboy("inspect", "never:1", expect=1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM small:test\nRUNN x\n", ["Dockerfile:2: unknown instruction: RUNN (did you mean RUN?)", "^^^^"]),
        ("FROM small:test\nCOPY none /x\n", ["none", "Dockerfile:2"]),
        ("FROM nowhere:1\nRUN x\n", ["there is no image nowhere:1", "Dockerfile:1"]),
        ("FROM small:test AS a\nCOPY --from=b x y\nFROM small:test AS b\nCOPY --from=a x y\n", ["circular dependency"]),
        ("FROM small:test\nCOPY --from=bild x y\n", ["there is no image bild"]),
        ("FROM small:test\nUSER nobody-here\nRUN x\n", ["nobody-here"]),
    ],
)
def test_bad_input(small_carboy: Carboy, project: Callable[..., str], text: str, expected: list[str]) -> None:
    done = small_carboy("build", project(text), expect=1)
    for part in expected:
        assert part in done.stderr, done.stderr


def test_checks(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project("FROM small:test as Base\nCOPY $TYPO /x\nCMD echo\n")
    done = small_carboy("build", folder, "--check", expect=1)
    assert "Check complete, 4 warnings have been found!" in done.stdout
    for rule in ("StageNameCasing", "FromAsCasing", "UndefinedVar", "JSONArgsRecommended"):
        assert f"WARNING: {rule} - " in done.stdout
    assert "   2 | >>> COPY $TYPO /x" in done.stdout


def test_warnings_of_a_build(small_carboy: Carboy, project: Callable[..., str]) -> None:
    good = project('FROM small:test\nCMD ["echo"]\n')
    assert small_carboy("build", good, "--check").stdout == "Check complete, no warnings found.\n"
    warned = project("FROM small:test\nCMD echo\n")
    assert " - JSONArgsRecommended: JSON arguments" in small_carboy("build", warned).stderr
    strict = project("# check=error=true\nFROM small:test\nCMD echo\n")
    assert "lint violation found for rules: JSONArgsRecommended" in small_carboy("build", strict, expect=1).stderr


def test_a_target_a_file_by_name_and_standard_input(small_carboy: Carboy, project: Callable[..., str]) -> None:
    text = "FROM small:test AS one\nRUN echo one > /x\nFROM small:test AS two\nRUN false\nFROM one\nCOPY a /x\n"
    folder = project("FROM nowhere\n", a="file\n", **{"docker/web": text})
    file = f"{folder}/docker/web"
    small_carboy("build", folder, "-f", file, "-t", "named:1")
    assert run(small_carboy, "named:1", "cat", "/x") == "file\n"
    small_carboy("build", folder, "-f", file, "-t", "named:2", "--target", "ONE")
    assert run(small_carboy, "named:2", "cat", "/x") == "one\n"


def test_a_dockerfile_on_standard_input(small_carboy: Carboy) -> None:
    small_carboy("build", "-", "-t", "piped:1", input="FROM small:test\nCOPY <<E /x\npiped\nE\n")
    assert run(small_carboy, "piped:1", "cat", "/x") == "piped\n"
    done = small_carboy("build", "-", input="FROM small:test\nCOPY a /x\n", expect=1)
    assert "a" in done.stderr


def test_triggers_and_named_contexts(small_carboy: Carboy, project: Callable[..., str]) -> None:
    parent = project("FROM small:test\nONBUILD COPY word /word\nONBUILD RUN tr a-z A-Z < /word > /loud\n")
    small_carboy("build", parent, "-t", "parent:1")
    other = project("", extra="more\n")
    child = project('FROM parent:1\nCOPY --from=lib extra /extra\nCMD ["cat", "/loud", "/extra"]\n', word="quiet\n")
    small_carboy("build", child, "-t", "child:1", "--build-context", f"lib={other}")
    assert run(small_carboy, "child:1") == "QUIET\nmore\n"
    assert not inspect(small_carboy, "child:1")["Config"].get("OnBuild")


def test_a_folder_that_is_both(small_carboy: Carboy, project: Callable[..., str]) -> None:
    text = "FROM small:test\nRUN true\n"
    settings = project(text, **{"main.py": "print(1)\n", "carboy.toml": '[run]\ncommand = ["python", "main.py"]\n'})
    assert "files to /app" in small_carboy("plan", settings).stdout
    assert "RUN true" in small_carboy("plan", settings, "-f", f"{settings}/Dockerfile").stdout
    refused = small_carboy("build", settings, "--build-arg", "A=1", expect=2)
    assert "--build-arg is for a Dockerfile" in refused.stderr


def test_run_builds_a_folder_with_its_dockerfile(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project('FROM small:test\nCOPY word /word\nCMD ["cat", "/word"]\n', word="ran\n")
    assert small_carboy("run", "--rm", folder).stdout == "ran\n"


def test_compose_builds_with_dockerfiles(small_carboy: Carboy, project: Callable[..., str]) -> None:
    compose = """name: files
services:
  web:
    image: web:1
    build: {context: ., dockerfile: docker/web, target: first, args: {WORD: given}, tags: [web:2]}
  inline:
    image: inline:1
    build:
      context: .
      dockerfile_inline: |
        FROM small:test
        COPY word /word
"""
    text = "FROM small:test AS first\nARG WORD\nRUN echo $WORD > /word\nFROM small:test\nRUN false\n"
    folder = project("FROM nowhere\n", word="file\n", **{"compose.yaml": compose, "docker/web": text})
    small_carboy("compose", "-f", f"{folder}/compose.yaml", "build")
    assert run(small_carboy, "web:2", "cat", "/word") == "given\n"
    assert run(small_carboy, "inline:1", "cat", "/word") == "file\n"


def make_tar(**files: str) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.uid = len(text), 1234
            archive.addfile(member, io.BytesIO(text.encode()))
    return stream.getvalue()


def test_an_archive_on_standard_input(small_carboy: Carboy) -> None:
    data = make_tar(Dockerfile="FROM nowhere\n", web="FROM small:test\nCOPY a /a\nRUN stat -c %u /a >> /a\n", a="tar\n")
    process = small_carboy.start("build", "-f", "web", "-t", "tar:1", "-", stdin=subprocess.PIPE, text=False)
    _, stderr = process.communicate(data, timeout=60)  # type: ignore[arg-type]
    assert process.returncode == 0, stderr
    assert run(small_carboy, "tar:1", "cat", "/a") == "tar\n0\n"


@pytest.fixture
def served(small_carboy: Carboy, project: Callable[..., str]) -> Iterator[str]:
    """Return the address of a server of the machine's own, with a repository and an archive."""
    folder = project("FROM small:test\nCOPY word /word\n", word="repository\n")
    git = [
        "git",
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "init.defaultBranch=main",
        "-c",
        "safe.directory=*",
    ]
    for words in (["init", "-q"], ["add", "."], ["commit", "-qm", "x"], ["clone", "-q", "--bare", ".", "bare.git"]):
        subprocess.run([*git, *words], cwd=folder, check=True, capture_output=True)
    subprocess.run([*git, "update-server-info"], cwd=f"{folder}/bare.git", check=True)
    Path(folder, "context.tgz").write_bytes(make_tar(Dockerfile="FROM small:test\nCOPY word /word\n", word="archive\n"))
    handler = functools.partial(QuietHandler, directory=folder)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_contexts_that_are_elsewhere(small_carboy: Carboy, served: str) -> None:
    small_carboy("build", f"{served}/bare.git#main", "-t", "git:1")
    assert run(small_carboy, "git:1", "cat", "/word") == "repository\n"
    small_carboy("build", f"{served}/context.tgz", "-t", "url:1")
    assert run(small_carboy, "url:1", "cat", "/word") == "archive\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_the_time_of_a_source(small_carboy: Carboy, served: str, project: Callable[..., str]) -> None:
    """SOURCE_DATE_EPOCH may name what an image is made of: a repository's commit has a time."""
    folder = project("FROM small:test\n")
    epoch = ("--build-arg", "SOURCE_DATE_EPOCH=%s")
    source = f"FROM scratch AS source\nADD {served}/bare.git#main /\n"
    text = f"{source}FROM small:test\nARG SOURCE_DATE_EPOCH\nRUN echo $SOURCE_DATE_EPOCH > /at\n"
    Path(folder, "Dockerfile").write_text(text)
    created = set()
    for name, options in (
        ("context", [f"{served}/bare.git#main", "-t", "dated:1"]),
        ("source", [folder, "-t", "dated:2"]),
        ("named", [folder, "--build-context", f"named={served}/bare.git#main", "-t", "dated:3"]),
    ):
        small_carboy("build", *options, epoch[0], epoch[1] % name)
        created.add(small_carboy("inspect", "-f", "{{.Created}}", options[-1]).stdout)
    assert len(created) == 1
    at = int(run(small_carboy, "dated:2", "cat", "/at"))
    assert at == int(run(small_carboy, "dated:3", "cat", "/at"))
    assert datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") == created.pop().strip()
    said = small_carboy("build", folder, epoch[0], epoch[1] % "context", expect=1).stderr
    assert "neither a number of seconds nor a source that has a time: context" in said


def test_a_file_of_another_language(small_carboy: Carboy, project: Callable[..., str]) -> None:
    folder = project("# syntax=example/other:1\nFROM small:test\n")
    assert "asks for the front end example/other:1" in small_carboy("build", folder, expect=1).stderr
    small_carboy("build", folder, "--build-arg", "BUILDKIT_SYNTAX=dockerfile.v0")
