"""Which files a .dockerignore leaves out."""

from __future__ import annotations

import time

import pytest

from carboy.dockerfile.errors import DockerfileError, LanguageError
from carboy.dockerfile.ignore import compile_ignore, parse_ignore


def left_out(patterns: str, *paths: str) -> list[str]:
    ignore = compile_ignore(parse_ignore(patterns))
    return [path for path in paths if ignore.matches(path)]


@pytest.mark.parametrize(
    ("patterns", "out", "kept"),
    [
        ("foo", ["foo", "foo/a", "foo/a/b"], ["a/foo", "foobar", "fo"]),
        ("/foo", ["foo"], ["a/foo"]),
        ("./foo/", ["foo"], []),
        ("a/../foo", ["foo"], ["a"]),
        ("*.py", ["a.py"], ["a/b.py", "a.pyc"]),
        ("*/*.py", ["a/b.py"], ["a.py", "a/b/c.py"]),
        ("**/*.py", ["a.py", "a/b.py", "a/b/c.py"], ["a.pyc"]),
        ("**/foo", ["foo", "a/foo", "a/b/foo/c"], ["afoo"]),
        ("foo/**", ["foo/a", "foo/a/b"], ["foo", "foob"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["b", "ab"]),
        ("**", ["a", "a/b"], []),
        ("a?c", ["abc"], ["ac", "abbc", "a/c"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[^a-c]x", ["dx"], ["ax"]),
        (r"\*x", ["*x"], ["ax"]),
        ("a.b+(c)", ["a.b+(c)"], ["aab+(c)"]),
        ("*\n!keep", ["a", "a/b"], ["keep", "keep/x"]),
        ("*\n!keep\nkeep/secret", ["keep/secret", "a"], ["keep/x"]),
        ("!foo\nfoo", ["foo"], []),
        ("foo\n!foo/bar\n", ["foo", "foo/a"], ["foo/bar", "foo/bar/x"]),
        ("docs\n!docs/*.md", ["docs/a.txt", "docs/a/b.md"], ["docs/a.md"]),
        ("  spaced  \n\n#comment\n #x", ["spaced", "#x"], ["#comment"]),
        ("\ufefffoo", ["foo"], []),
        ("! keep\n*\n! keep", [], ["keep"]),
        ("foo\r\nbar\r\n", ["foo", "bar"], []),
    ],
)
def test_patterns(patterns: str, out: list[str], kept: list[str]) -> None:
    assert left_out(patterns, *out, *kept) == out


@pytest.mark.parametrize("pattern", ["!", "[a", "a[", "[]a]", "[a-]", "[-x]", "a\\", "[z-a]", "[^]"])
def test_patterns_that_cannot_be_read(pattern: str) -> None:
    with pytest.raises(DockerfileError) as caught:
        parse_ignore(f"ok\n{pattern}\n")
    assert caught.value.line == 2
    with pytest.raises(LanguageError):
        compile_ignore([pattern])


@pytest.mark.parametrize(
    ("patterns", "folder", "expected"),
    [
        ("a", "a", False),
        ("*\n!a/b/c", "a", True),
        ("*\n!a/b/c", "a/b", True),
        ("*\n!a/b/c", "x", False),
        ("*\n!a/b/c", "a/x", False),
        ("*\n!**/*.py", "x/y", True),
        ("*\n!a/*/c", "a/b", True),
        ("*\n!a/*/c", "b/b", False),
        ("*\n!a*", "b", False),
    ],
)
def test_where_exceptions_may_be(patterns: str, folder: str, expected: bool) -> None:
    assert compile_ignore(parse_ignore(patterns)).may_hold_exceptions(folder) is expected


def test_many_files_take_little_time() -> None:
    lines = "\n".join(
        ["**/__pycache__", "**/*.pyc", ".git", "node_modules", "data/**/*.parquet", "*.log", "!keep.log", "build*"]
    )
    ignore = compile_ignore(parse_ignore(lines))
    paths = [f"src/package{i % 50}/module{i}/file{i}.py" for i in range(20_000)]
    start = time.perf_counter()
    assert not any(ignore.matches(path) for path in paths)
    assert time.perf_counter() - start < 0.5
