"""Packages of repositories as requirements name them: read, compared, and refused."""

from __future__ import annotations

import pytest

from carboy.environments.detect.choose import choose_wants
from carboy.environments.detect.repositories import bare_url, drop_lines, find_lines, parse_line
from carboy.errors import CarboyError

COMMIT, HASH = "c0ffee00" * 5, "a" * 64


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("own @ git+https://x.example/own.git@main#subdirectory=a/b", ""),
        ("own[x,y] @ git+ssh://git@x.example/o/own.git@v1.0 ; python_version<'3'", ""),
        ("git+https://x.example/own", ""),
        ("git+https://x.example/own.git@b#egg=own[x]&subdirectory=k", "own[x] @ git+https://x.example/own.git@b#subdirectory=k"),
        ("own@git+file:///srv/own@refs/pull/1/head", "own @ git+file:///srv/own@refs/pull/1/head"),
        (f"own @ git+https://x.example/own@{COMMIT} --hash=sha256:{HASH}", f"own @ git+https://x.example/own@{COMMIT}"),
    ],
)  # fmt: skip
def test_a_line_is_what_it_was(line: str, shown: str) -> None:
    found = parse_line(line, "requirements.txt")
    assert found is not None
    assert str(found) == (shown or line)
    assert parse_line(str(found), "again") == parse_line(shown or line, "again")
    assert found.sha256 == (HASH if "--hash" in line else "")
    assert found.repository.is_pinned == (COMMIT in line)


@pytest.mark.parametrize(
    "line",
    [
        "own @ git+https://x.example",
        "own @ git+ext::sh -c x",
        "own @ git+git@x.example:o/own",
        "own @ git+https://-oProxyCommand=x/own",
        "own @ git+https://x.example/own@--upload-pack=x",
        "own @ git+https://x.example/own@a..b",
        "own @ git+https://x.example/own#subdirectory=../x",
        "own @ git+https://x.example/own#subdirectory=/etc",
        "own @ bzr+https://x.example/own",
    ],
)
def test_what_is_no_repository_is_refused_with_the_way_to_write_one(line: str) -> None:
    with pytest.raises(CarboyError, match=r"requirements.txt asks for a package of a repository") as caught:
        parse_line(line, "requirements.txt")
    assert "NAME @ git+https://HOST/PATH.git@REF" in (caught.value.hint or "")


def test_a_repository_is_the_same_with_another_login_and_ref() -> None:
    (one, other) = find_lines(f"a @ git+https://u:p@x.example/o.git@main\nb\na @ git+https://x.example/o@{COMMIT}\n")
    assert one.repository.identity == other.repository.identity
    assert drop_lines(f"{one}\nb>=1\n") == "b>=1\n"


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("https://user:secret@x.example/o.git", "https://x.example/o.git"),
        ("https://secret@x.example/o.git", "https://x.example/o.git"),
        ("https://${TOKEN}@x.example/o.git", "https://${TOKEN}@x.example/o.git"),
        ("https://${USER_NAME}:${TOKEN}@x.example/o", "https://${USER_NAME}:${TOKEN}@x.example/o"),
        ("ssh://git@x.example/o.git", "ssh://git@x.example/o.git"),
        ("ssh://git:secret@x.example/o.git", "ssh://git@x.example/o.git"),
        ("file:///srv/a@b", "file:///srv/a@b"),
    ],
)
def test_no_login_is_in_what_is_kept(url: str, bare: str) -> None:
    assert bare_url(url) == bare


def test_a_file_that_asks_for_another_kind_is_named() -> None:
    with pytest.raises(CarboyError, match=r"pyproject.toml asks for a package of a repository .*: hg is not git"):
        choose_wants({"pyproject.toml": '[project]\ndependencies = ["a @ hg+https://x.example/a"]\n'})
