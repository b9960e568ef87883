"""The build checks by name, and which of them a file wants. Source: moby/buildkit, frontend/dockerfile/linter."""

from __future__ import annotations

import re
from collections.abc import Iterable

from carboy.dockerfile.errors import LanguageError, Span
from carboy.dockerfile.gotext import parse_boolean
from carboy.dockerfile.value import Value, replace

_PAGES = "https://docs.docker.com/go/dockerfile/rule/"
_COMMENT = re.compile(r"\s*check\s*=\s*(.+?)\s*", re.IGNORECASE)

_DESCRIPTIONS = {
    "StageNameCasing": "Stage names should be lowercase",
    "FromAsCasing": "The 'as' keyword should match the case of the 'from' keyword",
    "NoEmptyContinuation": "Empty continuation lines will become errors in a future release",
    "ConsistentInstructionCasing": (
        "All commands within the Dockerfile should use the same casing (either upper or lower)"
    ),
    "DuplicateStageName": "Stage names should be unique",
    "ReservedStageName": "Reserved words should not be used as stage names",
    "JSONArgsRecommended": (
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals"
    ),
    "MaintainerDeprecated": "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
    "UndefinedArgInFrom": "FROM command must use declared ARGs",
    "WorkdirRelativePath": (
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the base image"
        " changes"
    ),
    "UndefinedVar": "Variables should be defined before their use",
    "MultipleInstructionsDisallowed": "Multiple instructions of the same type should not be used in the same stage",
    "LegacyKeyValueFormat": "Legacy key/value format with whitespace separator should not be used",
    "InvalidBaseImagePlatform": "Base image platform does not match expected target platform",
    "RedundantTargetPlatform": (
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior"
    ),
    "SecretsUsedInArgOrEnv": "Sensitive data should not be used in the ARG or ENV commands",
    "InvalidDefaultArgInFrom": "Default value for global ARG results in an empty or invalid base image name",
    "FromPlatformFlagConstDisallowed": "FROM --platform flag should not use a constant value",
    "CopyIgnoredFile": "Attempting to Copy file that is excluded by .dockerignore",
    "InvalidDefinitionDescription": (
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is not"
        " intended to be a description comment, add an empty line or comment between the instruction and the comment."
    ),
    "ExposeProtoCasing": "Protocol in EXPOSE instruction should be lowercase",
    "ExposeInvalidFormat": (
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a future release"
    ),
}
EXPERIMENTAL = frozenset({"InvalidDefinitionDescription"})
_WITHOUT_PAGE = frozenset({"InvalidBaseImagePlatform"})
NAMES = tuple(_DESCRIPTIONS)


class CheckWarning(Value):
    """What a check found: ``message`` is BuildKit's, ``span`` where."""

    rule: str
    message: str
    span: Span
    file: str = "Dockerfile"

    @property
    def description(self) -> str:
        """What the rule is about."""
        return _DESCRIPTIONS[self.rule]

    @property
    def url(self) -> str:
        """The rule's page, "" for one without."""
        slug = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", self.rule).lower()
        return "" if self.rule in _WITHOUT_PAGE else f"{_PAGES}{slug}/"

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}" + (f" (line {self.span.first})" if self.span.first else "")


class CheckOptions(Value):
    """Which rules are left out, which experimental ones are wanted, and whether a finding is an error."""

    skip: frozenset[str] = frozenset()
    skip_all: bool = False
    experimental: frozenset[str] = frozenset()
    experimental_all: bool = False
    error: bool = False

    def wants(self, rule: str) -> bool:
        """Return whether a rule is to be looked at."""
        if rule in EXPERIMENTAL:
            return self.experimental_all or rule in self.experimental
        return not self.skip_all and rule not in self.skip

    def with_comments(self, comments: Iterable[str]) -> CheckOptions:
        """Return the options of an instruction with these comments above it ("check=skip=...").

        What cannot be read is ignored.
        """
        options = self
        for comment in comments:
            match = _COMMENT.fullmatch(comment)
            if match is None:
                continue
            try:
                own = parse_check_options(match[1])
            except LanguageError:
                continue
            options = replace(
                options,
                skip=options.skip | own.skip,
                skip_all=options.skip_all or own.skip_all,
                experimental=options.experimental | own.experimental,
                experimental_all=options.experimental_all or own.experimental_all,
            )
        return options


def parse_check_options(text: str) -> CheckOptions:
    """Return the options of "skip=A,B;error=true;experimental=all". Raises ``LanguageError``."""
    options = CheckOptions()
    if not text.strip():
        return options
    for part in text.strip().split(";", 2):
        key, equals, value = part.partition("=")
        key, value = key.strip(), value.strip()
        if not equals or key not in {"skip", "error", "experimental"}:
            raise LanguageError(
                f'failed to parse check options: invalid check option "{part if not equals else key}"',
                word=part,
                hint="write # check=skip=RuleA,RuleB;error=true",
            )
        if key == "error":
            error = parse_boolean(value)
            if error is None:
                raise LanguageError(
                    f'failed to parse check options: failed to parse check option "{part}"',
                    word=part,
                    hint="write error=true",
                )
            options = replace(options, error=error)
            continue
        names = frozenset() if value == "all" else frozenset(name.strip() for name in value.split(","))
        if key == "skip":
            options = replace(options, skip=names, skip_all=value == "all")
        else:
            options = replace(options, experimental=names, experimental_all=value == "all")
    return options
