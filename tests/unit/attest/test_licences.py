"""Licences as packages say them."""

from __future__ import annotations

import pytest

from carboy.attest.licences import find_expression, parse_copyright, read_python_licence, read_r_licence
from carboy.attest.packages import parse_python

MIT = "License :: OSI Approved :: MIT License"
BSD = "License :: OSI Approved :: BSD License"
DEP5 = """Format: https://www.example.org/copyright-format/1.0/
Upstream-Name: x

Files: *
Copyright: 2020 A
License: GPL-2+ or Expat

Files: debian/*
License: GPL-2+
 This is text: License: none

license: GPL-2+
 more
"""


@pytest.mark.parametrize(
    ("expression", "field", "classifiers", "found"),
    [
        ("MIT OR Apache-2.0", "", [], ("MIT OR Apache-2.0", "")),
        ("", "MIT", [], ("MIT", "")),
        ("", "new BSD", [BSD], ("BSD-3-Clause", "")),
        ("", "", [MIT], ("MIT", "")),
        ("", "see LICENSE", [MIT], ("MIT", "")),
        ("", "", [BSD], ("", "BSD License")),
        ("", "", [MIT, BSD], ("", "MIT License, BSD License")),
        ("", "Copyright (c) 2005, Somebody", [BSD], ("", "BSD License")),
        ("", "My own words", [], ("", "My own words")),
        ("", "UNKNOWN", [], ("", "")),
        ("", "x" * 101, [], ("", "")),
        ("what, ever", "", [], ("", "")),
        ("", "", ["Topic :: Office", "Programming Language :: Python"], ("", "")),
    ],
)
def test_python(expression: str, field: str, classifiers: list[str], found: tuple[str, str]) -> None:
    assert read_python_licence(expression, field, classifiers) == found


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        ("MIT AND (Apache-2.0 OR GPL-2.0+)", True), ("GPL-3.0-only WITH GCC-exception-3.1", True), ("(MIT", False),
        ("MIT)", False),
        ("(MIT OR ISC) AND Zlib", True), ("custom", False), ("MIT AND custom", False), ("LicenseRef-mine", False),
        ("MIT WITH Apache-2.0", False), ("GCC-exception-3.1", False), ("mit", False), ("", False),
    ],
)  # fmt: skip
def test_expressions(text: str, is_one: bool) -> None:
    assert find_expression(text) == (text if is_one else "")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("GPL (>= 2)", ("GPL-2.0-or-later", "")),
        ("GPL-2 | GPL-3", ("GPL-2.0-only OR GPL-3.0-only", "")),
        ("MIT + file LICENSE", ("MIT", "")),
        ("GPL-2|MIT + file LICENCE", ("GPL-2.0-only OR MIT", "")),
        ("GPL-2 | file LICENSE", ("", "GPL-2 | file LICENSE")),
        ("file LICENSE", ("", "file LICENSE")),
        ("Part of R 4.2.2", ("", "Part of R 4.2.2")),
        ("GPL", ("", "GPL")),
        ("EUPL-1.2", ("EUPL-1.2", "")),
        ("", ("", "")),
    ],
)
def test_r(text: str, found: tuple[str, str]) -> None:
    assert read_r_licence(text) == found


def test_metadata_has_several_classifiers() -> None:
    (package,) = parse_python(
        f"Name: A_b\r\nVersion: 1\r\nClassifier: {BSD}\r\nClassifier: {MIT}\r\n\r\nLicense: MIT\r\n"
    )
    assert (package.name, package.licence, package.licence_text) == ("a-b", "", "BSD License, MIT License")


def test_copyright_files() -> None:
    assert parse_copyright(DEP5) == ("GPL-2+ or Expat", "GPL-2+")
    old = (
        "On Debian systems the text is in\n/usr/share/common-licenses/GPL-2. and `/usr/share/common-licenses/LGPL-2.1'."
    )
    assert parse_copyright(old) == ("GPL-2", "LGPL-2.1")
    assert parse_copyright("") == parse_copyright("\0\xff") == ()
