"""Text to instructions: lines, flags, forms and types; and what an error shows."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.dockerfile.errors import DockerfileError, Span
from carboy.dockerfile.instructions.model import (
    Add,
    Arg,
    Cmd,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Label,
    Onbuild,
    Run,
    Shell,
    StageInstruction,
    Volume,
    Workdir,
)
from carboy.dockerfile.parser import parse


def body(text: str) -> tuple[StageInstruction, ...]:
    """Return the instructions of ``text`` after a FROM."""
    return parse(b"FROM scratch\n" + text.encode()).stages[0].instructions


def only(text: str) -> StageInstruction:
    (instruction,) = body(text)
    return instruction


def refuse(text: str) -> DockerfileError:
    with pytest.raises(DockerfileError) as caught:
        parse(text.encode())
    return caught.value


def test_stages_with_what_stands_in_them() -> None:
    found = parse(
        b'ARG V=1\nFROM --platform=linux/arm64 a:$V AS Build\nRUN x\nFROM build\nfrom scratch as last\nCMD ["y"]\n'
    )
    assert [arg.name for arg in found.global_args[0].args] == ["V"]
    assert [(s.index, s.name, s.start.image, len(s.instructions)) for s in found.stages] == [
        (0, "build", "a:$V", 1),
        (1, "", "build", 0),
        (2, "last", "scratch", 1),
    ]
    assert found.stages[0].start.platform == "linux/arm64"
    assert found.stages[0].start.written_stage == "Build"


def test_a_byte_order_mark_and_windows_line_ends() -> None:
    found = parse(b"\xef\xbb\xbfFROM scratch\r\nRUN a && \\\r\n  b\r\n")
    assert found.stages[0].instructions[0].code == "RUN a &&   b"


def test_spans_and_comments() -> None:
    text = "# about x\nARG x\n\n# lost\n\nRUN a \\\n# inside\n\n  b\n"
    arg, run = body(text)
    assert isinstance(arg, Arg)
    assert (arg.span, arg.args[0].description, arg.comments) == (Span(3, 3), "", ("about x",))
    assert run.span == Span(7, 10)
    assert run.comments == ()
    assert parse(b"FROM scratch\n" + text.encode()).empty_continuations == (Span(7, 10),)


def test_a_doubled_escape_at_the_end_is_no_continuation() -> None:
    assert [i.code for i in body("RUN echo a\\\\\nRUN b")] == ["RUN echo a\\\\", "RUN b"]


def test_a_file_that_ends_within_a_continuation() -> None:
    assert only("RUN a \\\n").code == "RUN a"


def test_flags_of_copy_and_add() -> None:
    copy = only("COPY --from=x --chown=1:2 --chmod=u=rwX,go=rX --link --parents --exclude=*.a --exclude='b c' a b /c/")
    assert isinstance(copy, Copy)
    assert (copy.source, copy.chown, copy.chmod, copy.link, copy.parents) == ("x", "1:2", "u=rwX,go=rX", True, True)
    assert (copy.exclude, copy.sources, copy.destination) == (("*.a", "b c"), ("a", "b"), "/c/")
    add = only("ADD --keep-git-dir=true --checksum=sha256:ab --unpack=FALSE --link=false u /d")
    assert isinstance(add, Add)
    assert (add.keep_git_dir, add.checksum, add.unpack, add.link) == (True, "sha256:ab", False, False)


def test_two_dashes_end_the_flags() -> None:
    run = only("RUN --network=none -- --not-a-flag")
    assert isinstance(run, Run)
    assert (run.network, run.words) == ("none", ("--not-a-flag",))


def test_forms_of_commands() -> None:
    cmd, entry, shell, empty = body('CMD echo $A\nENTRYPOINT [ "a", "b\\u00e9" ]\nSHELL ["/bin/bash", "-c"]\nCMD []')
    assert isinstance(cmd, Cmd)
    assert isinstance(entry, Entrypoint)
    assert isinstance(shell, Shell)
    assert isinstance(empty, Cmd)
    assert (cmd.words, cmd.shell) == (("echo $A",), True)
    assert (entry.words, entry.shell) == (("a", "bé"), False)
    assert shell.words == ("/bin/bash", "-c")
    assert (empty.words, empty.shell) == ((), False)


def test_pairs() -> None:
    env, label, legacy = body("ENV a=1 b=\"x y\" c=d\\ e f=\nLABEL 'a b'=c\nENV one two  three")
    assert isinstance(env, Env)
    assert isinstance(label, Label)
    assert isinstance(legacy, Env)
    assert [(p.key, p.value) for p in env.pairs] == [("a", "1"), ("b", '"x y"'), ("c", "d\\ e"), ("f", "")]
    assert [(p.key, p.value) for p in label.pairs] == [("'a b'", "c")]
    assert [(p.key, p.value, p.legacy) for p in legacy.pairs] == [("one", "two  three", True)]


def test_lists() -> None:
    expose, volume, listed, workdir = body('EXPOSE 90 80/tcp\nVOLUME /a  /b\nVOLUME ["/c d"]\nWORKDIR /a b')
    assert isinstance(expose, Expose)
    assert isinstance(volume, Volume)
    assert isinstance(listed, Volume)
    assert isinstance(workdir, Workdir)
    assert expose.ports == ("80/tcp", "90")
    assert (volume.paths, listed.paths, workdir.path) == (("/a", "/b"), ("/c d",), "/a b")


def test_health_checks() -> None:
    flags = "--interval=1m30s --timeout=5s --start-period=1h --start-interval=500ms --retries=4"
    check = only(f"HEALTHCHECK {flags} CMD curl -f x || exit 1")
    assert isinstance(check, Healthcheck)
    assert check.test == ("CMD-SHELL", "curl -f x || exit 1")
    assert (check.interval_ns, check.timeout_ns, check.retries) == (90 * 10**9, 5 * 10**9, 4)
    assert (check.start_period_ns, check.start_interval_ns) == (3600 * 10**9, 5 * 10**8)
    listed, none = body('HEALTHCHECK CMD ["a", "b"]\nhealthcheck none')
    assert isinstance(listed, Healthcheck)
    assert isinstance(none, Healthcheck)
    assert (listed.test, none.test) == (("CMD", "a", "b"), ("NONE",))


def test_documents_within_the_file() -> None:
    copy, run = body('COPY <<a <<-"b c" x /d/\n$A\na\n\tone\n\tb c\nRUN <<EOF sh\n# not a comment\n\nFROM x\nEOF\n')
    assert isinstance(copy, Copy)
    assert isinstance(run, Run)
    assert [(i.name, i.content, i.expand) for i in copy.inline] == [("a", "$A\n", True)]
    assert copy.sources == ('<<-"b', 'c"', "x")  # blanks in a name need the JSON form, which has no documents
    assert [(h.name, h.content) for h in run.heredocs] == [("EOF", "# not a comment\n\nFROM x\n")]
    assert run.span == Span(7, 11)


def test_triggers_keep_their_documents() -> None:
    trigger = only("ONBUILD RUN <<EOF\nx\nEOF\n")
    assert isinstance(trigger, Onbuild)
    assert trigger.trigger == "RUN <<EOF\nx\nEOF"


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("", "the Dockerfile cannot be empty", 0, 0),
        ("# only a comment\n", "file with no instructions", 0, 0),
        ("ARG x\n", "contains no stages", 0, 0),
        ("RUN x\n", "no build stage in current context", 1, 1),
        ("FROM a\nRUNN x\n", r"unknown instruction: RUNN \(did you mean RUN\?\)", 2, 1),
        ("FROM a\n  APT x\n", "unknown instruction: APT", 2, 3),
        ("FROM a b\n", "FROM requires either one or three arguments", 1, 8),
        ("FROM a AS 1b\n", 'invalid name for build stage: "1b"', 1, 11),
        ("FROM a\nCOPY a\n", "COPY requires at least two arguments", 2, 6),
        ("FROM a\nCOPY --form=x a b\n", r"unknown flag: --form \(did you mean from\?\)", 2, 6),
        ("FROM a\nCOPY --from=x --from=y a b\n", "duplicate flag specified: --from", 2, 15),
        ("FROM a\nCOPY --from a b\n", "missing a value on flag: --from", 2, 6),
        ("FROM a\nCOPY --link=maybe a b\n", "expecting boolean value", 2, 6),
        ("FROM a\nUSER --x y\n", "unknown flag: --x", 2, 6),
        ("FROM a\nRUN --device=gpu x\n", "not part of the stable language", 2, 5),
        ("FROM a\nRUN --network=mars x\n", 'unsupported network mode: "mars"', 2, 5),
        (
            "FROM a\nRUN --mount=type=cache,tagret=/x y\n",
            r"unexpected key 'tagret' in 'tagret=/x' \(did you mean target\?\)",
            2,
            24,
        ),
        ("FROM a\nENV x\n", "ENV must have two arguments", 2, 5),
        ("FROM a\nENV x=1 y\n", 'can\'t find = in "y"', 2, 9),
        ("FROM a\nLABEL =x\n", "LABEL names can not be blank", 2, 7),
        ("FROM a\nARG =x\n", "ARG names can not be blank", 2, 5),
        ("FROM a\nCMD [1]\n", "arrays must be comprised of strings only", 2, 5),
        ("FROM a\nSHELL sh -c\n", "SHELL requires the arguments to be in JSON form", 2, 7),
        ("FROM a\nSHELL []\n", "SHELL requires at least one argument", 2, 1),
        ('FROM a\nVOLUME [""]\n', "VOLUME specified can not be an empty string", 2, 1),
        ("FROM a\nWORKDIR\n", "WORKDIR requires exactly one argument", 2, 1),
        ("FROM a\nEXPOSE\n", "EXPOSE requires at least one argument", 2, 1),
        ("FROM a\nHEALTHCHECK\n", "HEALTHCHECK requires at least one argument", 2, 1),
        ("FROM a\nHEALTHCHECK CMD\n", "Missing command after HEALTHCHECK CMD", 2, 1),
        ("FROM a\nHEALTHCHECK curl x\n", 'Unknown type "CURL" in HEALTHCHECK', 2, 13),
        ("FROM a\nHEALTHCHECK NONE x\n", "HEALTHCHECK NONE takes no arguments", 2, 18),
        ("FROM a\nHEALTHCHECK --interval=5 CMD x\n", "missing unit in duration", 2, 13),
        ("FROM a\nHEALTHCHECK --interval=1us CMD x\n", 'Interval "interval" cannot be less than 1ms', 2, 13),
        ("FROM a\nHEALTHCHECK --retries=-1 CMD x\n", "--retries cannot be negative", 2, 13),
        ("FROM a\nONBUILD ONBUILD RUN x\n", "Chaining ONBUILD", 2, 9),
        ("FROM a\nONBUILD FROM x\n", "FROM isn't allowed as an ONBUILD trigger", 2, 9),
        ("FROM a\nONBUILD\n", "ONBUILD requires at least one argument", 2, 1),
        ("FROM a\nRUN <<EOF\nx\n", "unterminated heredoc", 2, 5),
        ("FROM a\nCOPY a <<EOF\nEOF\n", "COPY cannot accept a heredoc as a destination", 2, 8),
        ("# escape=x\nFROM a\n", "invalid escape token 'x'", 1, 10),
        ("# syntax=a\n# syntax=b\nFROM a\n", "only one syntax parser directive can be used", 2, 1),
        ("FROM a\nRUN " + "x" * 65600 + "\n", "greater than max allowed size of 65535", 2, 1),
        ("FROM a\nRUN x\0y\n", "not UTF-8 text", 2, 1),
    ],
)
def test_what_is_wrong_is_shown_where_it_stands(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(DockerfileError, match=message) as caught:
        parse(text.encode())
    error = caught.value
    assert (error.line, error.column) == (line, column)
    assert error.brief.startswith("Dockerfile:")
    if line:
        assert "^" in error.details


def test_the_frame_of_an_error() -> None:
    error = refuse("FROM a\n\nRUN one && \\\n\ttwo\nCOPY \\\n  --frm=b \\\n  c d\n")
    assert error.brief == "Dockerfile:6: unknown flag: --frm (did you mean from?)"
    assert error.details == "5 | COPY \\\n6 |   --frm=b \\\n  |   ^^^^^^^\n7 |   c d"
    assert error.hint.startswith("COPY knows --from, --chown")


def test_bytes_that_are_no_text_are_refused_but_in_documents() -> None:
    with pytest.raises(DockerfileError, match="not UTF-8"):
        parse(b"FROM a\nRUN \xff\n")
    copy = parse(b"FROM a\nCOPY <<E /x\n\xff\nE\n").stages[0].instructions[0]
    assert isinstance(copy, Copy)
    assert copy.inline[0].content.encode("utf-8", "surrogateescape") == b"\xff\n"


def test_two_hundred_lines_take_no_time() -> None:
    text = b"FROM debian:bookworm AS build\n" + b"RUN apt-get update && \\\n    apt-get install -y $PACKAGES\n" * 40
    text += b'ENV A=b C="$D e"\nCOPY --from=build a b /c/\nLABEL x=y\n' * 40
    best = float("inf")
    for _ in range(20):
        start = time.process_time()
        parse(text)
        best = min(best, time.process_time() - start)
    assert text.count(b"\n") > 200
    assert best < 0.01


PIECES = [
    "FROM a",
    "RUN x",
    "RUN <<E",
    "E",
    "COPY a b",
    "\\",
    "# c",
    "",
    "ENV a=b",
    "ONBUILD",
    "RUN",
    "CMD [",
    '["a"]',
    "--x=y",
    "$A",
]


@given(st.lists(st.sampled_from(PIECES), max_size=12), st.sampled_from([" ", "\n", "\\\n", "\r\n"]))
def test_anything_is_parsed_or_refused(parts: list[str], between: str) -> None:
    with suppress(DockerfileError):
        parse(between.join(parts).encode())


@given(st.binary(max_size=60))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    with suppress(DockerfileError):
        parse(b"FROM a\n" + data)
