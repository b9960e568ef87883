"""What uv says at its end, as an error with an action."""

from __future__ import annotations

import pytest

from carboy.environments.failures import explain_failure


@pytest.mark.parametrize(
    ("line", "brief", "hint"),
    [
        ("cause: No space left on device (os error 28)", "the disk is full", "prune"),
        ("cause: Hash mismatch for `a==1`", "not the file that its hash names", "lock"),
        ("error: HTTP status client error (401 Unauthorized) for url", "wants a login", "PIP_INDEX_URL"),
        ("error: HTTP status client error (403 Forbidden) for url", "wants a login", "USER:PASSWORD"),
        ("cause: tcp connect error: Connection refused (os error 111)", "cannot be reached", "HTTPS_PROXY"),
        ("cause: dns error: failed to lookup address information", "cannot be reached", "--offline --bundle"),
        (
            "cause: The built wheel `a-1.whl` is not compatible with the target Python 3.11 on Linux aarch64",
            "no wheel for the platform",
            "machine of that kind",
        ),
        (
            "Because torch==2 has no wheels with a matching platform tag (e.g., `manylinux_2_36_aarch64`)",
            "no wheel for the platform",
            "name a version",
        ),
        ("  x Failed to build `a==1`", "cannot be built from its source", "apt.txt"),
        (
            "And because the current Python version (3.11.2) does not satisfy Python>=3.12",
            "another Python",
            "version =",
        ),
        ("Because a was not found in the package registry and you", "no index has a package", "USER:PASSWORD"),
        ("error: Couldn't parse requirement in `requirements.txt` at position 0", "not written as pip", "NAME"),
        ("hint: Build failures usually indicate a problem with the package", "cannot be built", "apt.txt"),
        ("because there is no version of a==2", "cannot be installed", "change the requirements"),
    ],
)
def test_a_last_line_is_explained(line: str, brief: str, hint: str) -> None:
    error = explain_failure(["Resolved 1 package", line], 1)
    assert brief in error.brief
    assert hint in (error.hint or "")
    assert line in (error.details or "")


def test_silence_is_told_by_the_status() -> None:
    assert explain_failure([], 2).details == "uv ended with status 2"
