"""The traps of the language that text alone decides; the numbers are those of reference/dockerfile.md, section 1.8.

``tests/unit/build/dockerfile/test_traps.py`` has those that show when stages become a graph: 9 to 13, 20 to 28, 30, 31, 38,
39, 41, 42, 45 to 50, 55 to 57, 59, 62 to 64 and 66 to 68. Files and processes decide 32 to 37, 43, 44, 51, 60 and 61, and the
rest of 30, 31, 38 to 42, 45 to 48 and 61 to 63: the tests of copies and the end-to-end tests of builds have them.
"""

from __future__ import annotations

import pytest

from carboy.dockerfile.errors import DockerfileError, LanguageError
from carboy.dockerfile.instructions.model import (
    Arg,
    Cmd,
    CommandLine,
    Copy,
    Entrypoint,
    Env,
    Expose,
    Healthcheck,
    Onbuild,
    Run,
    Stage,
    StageInstruction,
    StopSignal,
)
from carboy.dockerfile.instructions.mounts import parse_mount_origin
from carboy.dockerfile.parser import parse, parse_trigger
from carboy.dockerfile.scope import Globals, StageScope, resolve_globals
from carboy.dockerfile.stages import BoundStages, bind_stages, check_cycles, list_dependencies
from carboy.dockerfile.words import process


def stage(text: str) -> Stage:
    return parse(text.encode()).stages[-1]


def only(text: str, *, top: str = "") -> StageInstruction:
    (instruction,) = stage(f"{top}FROM scratch\n{text}").instructions
    return instruction


def words(text: str, *, top: str = "") -> tuple[str, ...]:
    instruction = only(text, top=top)
    assert isinstance(instruction, CommandLine)
    return instruction.words


def is_shell(text: str) -> bool:
    instruction = only(text)
    assert isinstance(instruction, CommandLine)
    return instruction.shell


def scope(**env: str) -> StageScope:
    return StageScope(escape="\\", globals=Globals(values={}), build_args={}, env=dict(env))


def bind(text: str) -> BoundStages:
    dockerfile = parse(text.encode())
    return bind_stages(dockerfile, resolve_globals(dockerfile, predefined={}, build_args={}))


def refuse(text: str, message: str) -> None:
    with pytest.raises(DockerfileError, match=message):
        parse(f"FROM scratch\n{text}".encode())


def test_trap_01_a_blank_line_before_escape_turns_it_off() -> None:
    assert words("RUN a `\n  b", top="# escape=`\n") == ("a   b",)
    assert parse(b"\n# escape=`\nFROM scratch\n").directives.escape == "\\"
    assert parse(b"# a comment\n# escape=`\nFROM scratch\n").directives.escape == "\\"
    assert parse(b"# unknown=x\n# escape=`\nFROM scratch\n").directives.escape == "\\"
    assert parse(b"  # ESCAPE = `\nFROM scratch\n").directives.escape == "`"


def test_trap_02_a_shebang_hides_escape_but_not_syntax() -> None:
    found = parse(b"#!/bin/x\n# syntax=docker/dockerfile:1 -v\n# escape=`\nFROM scratch\n").directives
    assert (found.syntax, found.escape) == ("docker/dockerfile:1", "\\")


def test_trap_03_comments_and_blank_lines_do_not_end_an_instruction() -> None:
    assert words("RUN a \\\n  # comment\n\n  b") == ("a   b",)


def test_trap_04_a_continuation_keeps_the_next_lines_indentation() -> None:
    assert words("RUN echo a\\\n    b") == ("echo a    b",)


def test_trap_05_bad_json_is_the_shell_form_and_other_values_are_an_error() -> None:
    assert is_shell("RUN ['a']")
    assert is_shell('CMD ["a"')
    assert is_shell('CMD ["a"] # comment')
    refuse('CMD ["a", 1]', "comprised of strings only")
    refuse('CMD ["a", null]', "comprised of strings only")


def test_trap_06_json_is_gos() -> None:
    assert is_shell('CMD ["a", NaN]')
    assert is_shell('CMD ["a", -Infinity]')
    assert is_shell('CMD ["a\tb"]')
    assert words('CMD ["\\ud800", "\\ud83d\\ude00"]') == ("\ufffd", "\U0001f600")


def test_trap_07_copy_splits_without_a_look_at_quotes() -> None:
    copy = only('COPY "a b" /x')
    assert isinstance(copy, Copy)
    assert (copy.sources, copy.destination) == (('"a', 'b"'), "/x")
    with pytest.raises(LanguageError, match="matching double-quote"):
        scope().expand(copy)


def test_trap_08_the_old_form_takes_the_rest_of_the_line() -> None:
    env = only("ENV a b=c  d")
    assert isinstance(env, Env)
    assert [(pair.key, pair.value) for pair in env.pairs] == [("a", "b=c  d")]


def test_trap_09_env_sees_what_was_before_and_arg_sees_itself() -> None:
    here = scope(a="old")
    env = here.expand(only("ENV a=1 b=$a"))
    assert isinstance(env, Env)
    assert env.pairs[1].value == "old"
    arg = only("ARG a=1 b=$a")
    assert isinstance(arg, Arg)
    assert here.declare(arg) == [("a", "1"), ("b", "1")]
    dockerfile = parse(b"ARG a=1 b=$a\nFROM scratch\n")
    assert resolve_globals(dockerfile, predefined={}, build_args={}).values == {"a": "1", "b": "1"}


def test_trap_10_an_arg_after_env_wins_until_the_next_stage() -> None:
    here = scope(x="env")
    arg = only("ARG x=arg")
    assert isinstance(arg, Arg)
    here.declare(arg)
    assert here.env["x"] == "arg"
    assert here.child({"x": "env"}).env["x"] == "env"


def test_trap_11_a_default_in_a_stage_hides_the_global_value() -> None:
    here = StageScope(escape="\\", globals=Globals(values={"TARGETARCH": "arm64"}), build_args={}, env={})
    bare, with_default = only("ARG TARGETARCH"), only("ARG TARGETARCH=amd64")
    assert isinstance(bare, Arg)
    assert isinstance(with_default, Arg)
    assert here.declare(bare) == [("TARGETARCH", "arm64")]
    assert here.declare(with_default) == [("TARGETARCH", "amd64")]


def test_trap_13_a_default_is_not_looked_at_when_a_build_arg_is_there() -> None:
    text = "ARG x=${y:?needed}"
    arg = only(text)
    assert isinstance(arg, Arg)
    given = StageScope(escape="\\", globals=Globals(values={}), build_args={"x": "1"}, env={})
    assert given.declare(arg) == [("x", "1")]
    with pytest.raises(LanguageError, match="needed"):
        scope().declare(arg)
    dockerfile = parse(f"{text}\nFROM scratch\n".encode())
    assert resolve_globals(dockerfile, predefined={}, build_args={"x": "1"}).values == {"x": "1"}
    with pytest.raises(DockerfileError, match="needed"):
        resolve_globals(dockerfile, predefined={}, build_args={})


def test_trap_14_from_never_knows_variables() -> None:
    bound = bind("FROM scratch\nCOPY --from=$X a b\n")
    with pytest.raises(DockerfileError, match="variable expansion is not supported for --from"):
        list_dependencies(bound)
    with pytest.raises(LanguageError, match="'from' doesn't support variable expansion"):
        parse_mount_origin("type=bind,from=${X},target=/x")
    refuse("RUN --mount=from=$X,target=/x y", "'from' doesn't support variable expansion")


def test_trap_15_some_flags_are_not_expanded() -> None:
    copy = scope(X="x").expand(only("COPY --exclude=$X --chown=$X a b"))
    assert isinstance(copy, Copy)
    assert (copy.exclude, copy.chown) == (("$X",), "x")
    refuse("RUN --network=$X y", "unsupported network mode")
    refuse("RUN --security=$X y", "is not valid")
    refuse("HEALTHCHECK --retries=$X CMD y", "--retries is not a number")


@pytest.mark.parametrize(
    "text", ["RUN echo $X", "CMD echo $X", 'ENTRYPOINT ["$X"]', 'SHELL ["$X"]', "HEALTHCHECK CMD $X"]
)
def test_trap_16_commands_are_not_expanded(text: str) -> None:
    instruction = only(text)
    assert scope(X="x").expand(instruction) == instruction


def test_trap_17_names_of_stages_and_their_case() -> None:
    text = "FROM scratch AS Build\nFROM build\nFROM Build\nCOPY --from=BUILD a b\n"
    bound = bind(text)
    assert [item.base for item in bound.stages] == [None, 0, None]
    assert list_dependencies(bound)[2].keys() == {0}
    assert bound.find_target("BUILD") == 0


def test_trap_18_a_name_is_known_after_its_own_from() -> None:
    bound = bind("FROM golang AS golang\nFROM golang AS b\nFROM other AS golang\nFROM golang\nCOPY --from=golang a b\n")
    assert [item.base for item in bound.stages] == [None, 0, None, 2]
    assert list_dependencies(bound)[3].keys() == {2}


def test_trap_19_numbers_are_stages_and_other_names_images() -> None:
    bound = bind("FROM scratch\nFROM scratch\nCOPY --from=0 a b\nCOPY --from=busybox a b\n")
    assert bound.find_source("0").index == 0
    assert bound.find_source("busybox").name == "busybox"
    with pytest.raises(LanguageError, match="invalid stage index 2"):
        bound.find_source("2")
    with pytest.raises(DockerfileError, match="invalid name for build stage"):
        parse(b"FROM scratch AS 1x\n")


def test_trap_21_stages_in_a_circle() -> None:
    bound = bind("FROM scratch AS a\nCOPY --from=b x y\nFROM scratch AS b\nCOPY --from=a x y\n")
    with pytest.raises(DockerfileError, match="circular dependency detected on stage: a"):
        check_cycles(bound, list_dependencies(bound))
    itself = bind("FROM scratch AS a\nRUN --mount=from=a,target=/x y\n")
    with pytest.raises(DockerfileError, match="circular dependency detected on stage: a"):
        check_cycles(itself, list_dependencies(itself))


def test_trap_24_empty_commands_are_allowed_and_an_empty_shell_is_not() -> None:
    cmd, entrypoint = stage("FROM scratch\nCMD []\nENTRYPOINT []\n").instructions
    assert isinstance(cmd, Cmd)
    assert isinstance(entrypoint, Entrypoint)
    assert (cmd.words, cmd.shell, entrypoint.words, entrypoint.shell) == ((), False, (), False)
    refuse("SHELL []", "SHELL requires at least one argument")


def test_trap_28_triggers_are_read_with_the_default_escape() -> None:
    dockerfile = parse(b"# escape=`\nFROM scratch\nONBUILD RUN <<E cat\na\\\nE\n")
    (trigger,) = dockerfile.stages[0].instructions
    assert isinstance(trigger, Onbuild)
    assert trigger.trigger == "RUN <<E cat\na\\\nE"
    run = parse_trigger("ENV a=b\\ c", source=dockerfile.source, span=trigger.span)
    assert isinstance(run, Env)
    assert (run.pairs[0].value, run.span) == ("b\\ c", trigger.span)
    with pytest.raises(DockerfileError, match="single expression"):
        parse_trigger("RUN a\nRUN b", source=dockerfile.source, span=trigger.span)
    with pytest.raises(DockerfileError, match="unknown instruction: NOPE"):
        parse_trigger("NOPE a", source=dockerfile.source, span=trigger.span)


def test_trap_29_what_cannot_be_a_trigger() -> None:
    refuse("ONBUILD onbuild RUN x", "Chaining ONBUILD")
    refuse("ONBUILD FROM x", "FROM isn't allowed")
    refuse("ONBUILD maintainer x", "MAINTAINER isn't allowed")


def test_trap_40_two_stars_cross_folders_in_ignore_files_only() -> None:
    from carboy.dockerfile.ignore import compile_ignore

    assert not compile_ignore(["a/*"]).matches("a")
    assert not compile_ignore(["*.x"]).matches("a/b.x")
    assert compile_ignore(["**/*.x"]).matches("a/b.x")


def test_trap_52_documents_of_copy_keep_quotes_and_know_one_escape() -> None:
    copy = only("COPY <<E /x\n'$X' \"a\" \\$X `\nE\n", top="# escape=`\n")
    here = StageScope(escape="`", globals=Globals(values={}), build_args={}, env={"X": "x"})
    made = here.expand(copy)
    assert isinstance(made, Copy)
    assert made.inline[0].content == "'x' \"a\" $X `\n"
    quoted = scope(X="x").expand(only("COPY <<'E' /x\n$X\\n\nE\n"))
    assert isinstance(quoted, Copy)
    assert quoted.inline[0].content == "$X\\n\n"


def test_trap_53_documents_of_run() -> None:
    run = only("RUN <<'E'\n$X\nE\n")
    assert isinstance(run, Run)
    assert scope(X="x").expand(run) == run
    spaced = only("RUN cat << E\nx\nE\n")
    assert isinstance(spaced, Run)
    assert spaced.heredocs[0].name == "E"
    for text in ("RUN cat <<- E", "RUN echo $((1<<2))", "RUN cat <<<E", "RUN cat<<E"):
        other = only(text)
        assert isinstance(other, Run)
        assert other.heredocs == ()
    refuse("RUN echo $(( 1 << 2 ))", "unterminated heredoc")


def test_trap_54_documents_keep_their_line_ends() -> None:
    run = only("RUN <<E <<-F\r\na\r\n E\r\nE\r\n\tb\r\n\tF\r\n")
    assert isinstance(run, Run)
    assert [(h.name, h.content) for h in run.heredocs] == [("E", "a\r\n E\r\n"), ("F", "\tb\r\n")]
    assert run.heredocs[1].text == "b\r\n"


def test_trap_55_ports_are_sorted_before_they_are_expanded() -> None:
    expose = only("EXPOSE $Z 443 $A")
    assert isinstance(expose, Expose)
    assert expose.ports == ("$A", "$Z", "443")
    made = scope(A="9 8", Z="7").expand(expose)
    assert isinstance(made, Expose)
    assert made.ports == ("9", "8", "7", "443")


def test_trap_57_some_drop_flags_without_a_word() -> None:
    arg, signal = only("ARG --what=x a"), only("STOPSIGNAL --what=x 9")
    assert isinstance(arg, Arg)
    assert isinstance(signal, StopSignal)
    assert (arg.args[0].name, signal.signal) == ("a", "9")


def test_trap_58_durations_are_gos() -> None:
    check = only("HEALTHCHECK --interval=1.5h --timeout=0s CMD x")
    assert isinstance(check, Healthcheck)
    assert (check.interval_ns, check.timeout_ns) == (5400 * 10**9, 0)
    refuse("HEALTHCHECK --interval=999us CMD x", "cannot be less than 1ms")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("$$", ""),
        ("${p//b/[$1]}", "a[]a"),
        ("${p//b/$$$$x}", "ax" + "a"),
        (r"${p/b/\$1}", r"a\$1a"),
        (r"${p//b/\$0}", r"a\ba"),
    ],
)
def test_trap_65_odd_expansions(word: str, expected: str) -> None:
    assert process(word, {"p": "aba"}).text == expected


@pytest.mark.parametrize("word", ["${p/ba}", "${#s}", "${!s}", "${s,,}", "${s:0:1}"])
def test_trap_65_forms_that_there_are_not(word: str) -> None:
    with pytest.raises(LanguageError):
        process(word, {"p": "aba"})
