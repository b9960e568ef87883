"""Licences as packages say them."""

from __future__ import annotations

import pytest

from carboy.attest.licences import parse_copyright, read_python_licence
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
