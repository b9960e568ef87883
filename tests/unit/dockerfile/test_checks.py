"""The 22 build checks, with BuildKit's messages."""

from __future__ import annotations

from typing import Any

import pytest

from carboy.dockerfile.checks import BaseFacts, CheckInput, check
from carboy.dockerfile.errors import DockerfileError, LanguageError
from carboy.dockerfile.ignore import compile_ignore, parse_ignore
from carboy.dockerfile.parser import parse
from carboy.dockerfile.rules import NAMES, parse_check_options
from carboy.dockerfile.scope import PlatformNames

AMD64 = PlatformNames(architecture="amd64")


def run(text: str, **given: Any) -> list[tuple[str, str, int]]:
    found = check(parse(text.encode()), CheckInput(platform=AMD64, **given))
    return [(warning.rule, warning.message, warning.span.first) for warning in found]


def test_there_are_22() -> None:
    assert len(NAMES) == 22


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM scratch AS Build\n", ("StageNameCasing", "Stage name 'Build' should be lowercase", 1)),
        ("FROM scratch as build\n", ("FromAsCasing", "'as' and 'FROM' keywords' casing do not match", 1)),
        ("from scratch AS build\n", ("FromAsCasing", "'AS' and 'from' keywords' casing do not match", 1)),
        ("FROM scratch\nRUN a \\\n\n  b\n", ("NoEmptyContinuation", "Empty continuation line", 2)),
        (
            'FROM scratch\nrun a\nCMD ["x"]\n',
            (
                "ConsistentInstructionCasing",
                "Command 'run' should match the case of the command majority (uppercase)",
                2,
            ),
        ),
        (
            "from scratch\nrun a\nRun b\n",
            (
                "ConsistentInstructionCasing",
                "Command 'Run' should match the case of the command majority (lowercase)",
                3,
            ),
        ),
        (
            "FROM scratch AS b\nFROM scratch AS b\n",
            ("DuplicateStageName", 'Duplicate stage name "b", stage names should be unique', 2),
        ),
        (
            "FROM scratch AS context\n",
            ("ReservedStageName", 'Stage name should not use the same name as reserved stage "context"', 1),
        ),
        (
            "FROM scratch\nENTRYPOINT x\n",
            (
                "JSONArgsRecommended",
                "JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
                2,
            ),
        ),
        (
            "FROM scratch\nMAINTAINER me\n",
            ("MaintainerDeprecated", "Maintainer instruction is deprecated in favor of using label", 2),
        ),
        (
            "ARG VERSION=1\nFROM a:${VERSIO:-1}\n",
            ("UndefinedArgInFrom", "FROM argument 'VERSIO' is not declared (did you mean VERSION?)", 2),
        ),
        (
            "FROM scratch\nWORKDIR app\nWORKDIR b\n",
            ("WorkdirRelativePath", 'Relative workdir "app" can have unexpected results if the base image changes', 2),
        ),
        (
            "FROM scratch\nARG NAME=x\nCOPY $NAMEE /\n",
            ("UndefinedVar", "Usage of undefined variable '$NAMEE' (did you mean $NAME?)", 3),
        ),
        (
            'FROM scratch\nCMD ["a"]\nCMD ["b"]\n',
            (
                "MultipleInstructionsDisallowed",
                "Multiple CMD instructions should not be used in the same stage because only the last one will be used",
                2,
            ),
        ),
        (
            "FROM scratch\nENV a b\n",
            ("LegacyKeyValueFormat", '"ENV key=value" should be used instead of legacy "ENV key value" format', 2),
        ),
        (
            "FROM --platform=$TARGETPLATFORM scratch\n",
            (
                "RedundantTargetPlatform",
                "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
                1,
            ),
        ),
        (
            "FROM scratch\nARG API_KEY\n",
            ("SecretsUsedInArgOrEnv", 'Do not use ARG or ENV instructions for sensitive data (ARG "API_KEY")', 2),
        ),
        (
            "FROM scratch\nENV github_token=x\n",
            ("SecretsUsedInArgOrEnv", 'Do not use ARG or ENV instructions for sensitive data (ENV "github_token")', 2),
        ),
        (
            "ARG TAG\nFROM a:$TAG\n",
            ("InvalidDefaultArgInFrom", "Default value for ARG a:$TAG results in empty or invalid base image name", 2),
        ),
        (
            "FROM --platform=linux/amd64 scratch\n",
            ("FromPlatformFlagConstDisallowed", 'FROM --platform flag should not use constant value "linux/amd64"', 1),
        ),
        (
            "FROM scratch\nEXPOSE 80/TCP\n",
            ("ExposeProtoCasing", "Defined protocol '80/TCP' in EXPOSE instruction should be lowercase", 2),
        ),
        (
            "FROM scratch\nEXPOSE 127.0.0.1:80:80\n",
            (
                "ExposeInvalidFormat",
                "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
                2,
            ),
        ),
    ],
)
def test_each_rule(text: str, expected: tuple[str, str, int]) -> None:
    assert run(text) == [expected]


@pytest.mark.parametrize(
    "text",
    [
        "FROM scratch AS build\nRUN a \\\n  b\n",
        "FROM --platform=linux/amd64 scratch AS tool-amd64\n",
        "FROM --platform=$BUILDPLATFORM scratch\n",
        "ARG TAG=1\nFROM a:$TAG\n",
        "ARG TAG\nFROM a:${TAG:-1}\n",
        'FROM scratch\nSHELL ["/bin/bash", "-c"]\nCMD echo\n',
        "FROM scratch\nWORKDIR /a\nWORKDIR b\n",
        "FROM scratch\nENV PUBLIC_KEY=x TOKEN_FILE=y KEYBOARD=z\n",
        "FROM scratch\nARG X\nRUN a\nCOPY ${X:-a} $PATH /\n",
        "FROM scratch\nRUN echo $UNKNOWN\n",
        "FROM scratch AS a\nARG X=1\nWORKDIR /w\nFROM a\nWORKDIR $X\n",
        "FROM scratch\nARG A=1 B=$A\nENV C=$A D=$B\nLABEL $C=$D\n",
        "FROM scratch\nEXPOSE 80 53/udp 8000-8010\n",
    ],
)
def test_what_is_good_is_not_warned_of(text: str) -> None:
    assert run(text) == []


def test_a_base_of_another_platform_and_what_a_base_sets() -> None:
    arm = BaseFacts(env={"V": "1"}, shell=True, platform=PlatformNames(architecture="arm64"))
    found = run("FROM x\nCOPY $V /\nCMD x\n", base=lambda name: arm)
    message = 'Base image x was pulled with platform "linux/arm64", expected "linux/amd64" for current build'
    assert found == [("InvalidBaseImagePlatform", message, 1)]


def test_triggers_are_looked_at() -> None:
    base = BaseFacts(triggers=("COPY $TYPO /",))
    assert [rule for rule, _, _ in run("FROM x\n", base=lambda name: base)] == ["UndefinedVar"]


def test_files_that_are_left_out() -> None:
    ignore = compile_ignore(parse_ignore("data\n*.log\n"))
    text = (
        "FROM scratch\nCOPY data/a b.txt /x/\nADD x.log https://host/a.log /y/\nCOPY . /z\nCOPY --from=other data /q\n"
    )
    assert run(text, ignore=ignore) == [
        ("CopyIgnoredFile", 'Attempting to Copy file "data/a" that is excluded by .dockerignore', 2),
        ("CopyIgnoredFile", 'Attempting to Add file "x.log" that is excluded by .dockerignore', 3),
    ]
    everything = compile_ignore(parse_ignore("*"))
    assert [line for _, _, line in run("FROM scratch\nCOPY . /z\n", ignore=everything)] == [2]
    assert run("FROM scratch\nCOPY a /z\n", ignore=compile_ignore(parse_ignore("*\n!a"))) == []


def test_descriptions_are_experimental() -> None:
    text = "# check=experimental=all\n\n# something\nARG a=1\n# base is a stage\nFROM scratch AS base\n"
    text += "# nothing\n\nARG b\n# about\nARG c d\n"
    found = run(text)
    assert found == [
        ("InvalidDefinitionDescription", "Comment for ARG should follow the format: `# a <description>`", 4),
        ("InvalidDefinitionDescription", "Comment for ARG should follow the format: `# <arg_key> <description>`", 11),
    ]
    assert run(text.partition("\n")[2]) == []


def test_only_what_the_target_needs() -> None:
    text = "FROM scratch AS a\nCOPY $X /\nFROM scratch AS b\nCOPY --from=a x /\nFROM scratch AS c\nCOPY $Z /\n"
    assert [line for _, _, line in run(text, target="b")] == [2]
    assert [line for _, _, line in run(text)] == [2, 6]


def test_rules_are_skipped() -> None:
    text = "FROM scratch AS B\nCOPY $X /\n"
    assert run(f"# check=skip=all\n{text}") == []
    assert [rule for rule, _, _ in run(f"# check=skip=UndefinedVar, Other\n{text}")] == ["StageNameCasing"]
    above = "FROM scratch AS B\n# check=skip=UndefinedVar\nCOPY $X /\nCOPY $Y /\n"
    assert [(rule, line) for rule, _, line in run(above)] == [("StageNameCasing", 1), ("UndefinedVar", 4)]
    assert run(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": "skip=all"}) == []


def test_options_that_cannot_be_read() -> None:
    assert parse_check_options("skip=A;error=true;experimental=B").error
    for text in ("skip", "sleep=all", "error=perhaps"):
        with pytest.raises(LanguageError, match="failed to parse check options"):
            parse_check_options(text)
    with pytest.raises(DockerfileError, match="invalid check option"):
        run("# check=nothing\nFROM scratch\n")


def test_a_warning_says_where_to_read_on() -> None:
    (warning,) = check(parse(b"FROM scratch\nCMD x\n"), CheckInput(platform=AMD64))
    assert warning.url.endswith("/rule/json-args-recommended/")
    assert str(warning).startswith("JSONArgsRecommended: JSON arguments recommended for CMD")
    assert str(warning).endswith("(line 2)")
