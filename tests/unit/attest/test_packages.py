"""Databases of packages, as they are and as nobody should trust them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.attest.packages import (
    Package,
    System,
    make_purl,
    parse_apk,
    parse_conda,
    parse_dpkg,
    parse_python,
    parse_r,
    parse_system,
)

DPKG = """Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.36-9)
Version: 1:2.36-9+deb12u10
Description: GNU C Library
 Package: not-one
 .
 more

Package: gone
Status: deinstall ok config-files
Version: 1

Package: distroless
Version: 2
Architecture: all
"""
PYTHON = """Metadata-Version: 2.4
Name: Scikit_Learn.extra
Version: 1.5.0
License: a text of many lines
License-Expression: MIT OR Apache-2.0

Name: not-this
"""


def test_debian() -> None:
    assert list(parse_dpkg(DPKG)) == [
        Package(kind="deb", name="libc6", version="1:2.36-9+deb12u10", arch="amd64", source="glibc"),
        Package(kind="deb", name="distroless", version="2", arch="all"),
    ]


def test_others() -> None:
    assert list(parse_python(PYTHON)) == [
        Package(kind="pypi", name="scikit-learn-extra", version="1.5.0", licence="MIT OR Apache-2.0")
    ]
    assert list(parse_r("Package: Rcpp\r\nVersion: 1.0.12\r\nLicense: GPL (>= 2)\r\nBuilt: R 4.2.2\r\n")) == [
        Package(kind="cran", name="Rcpp", version="1.0.12", licence="GPL-2.0-or-later")
    ]
    assert not list(parse_r("Package: source\nVersion: 1\n"))
    apk = "C:Q1\nP:musl\nV:1.2.5-r0\nA:x86_64\nL:MIT\no:musl\nF:lib\n\nP:broken\n\n"
    assert list(parse_apk(apk)) == [
        Package(kind="apk", name="musl", version="1.2.5-r0", arch="x86_64", licence="MIT", source="musl")
    ]
    assert parse_system('ID=debian\nVERSION_ID="12"\nNAME="x"\n') == System(id="debian", version="12")


def test_conda() -> None:
    text = '{"name": "_libgcc_mutex", "version": "0.1", "build": "main", "subdir": "linux-64", "license": "%s", "depends": []}'
    found = Package(kind="conda", name="_libgcc_mutex", version="0.1", arch="linux-64", build="main")
    assert list(parse_conda(text % "BSD-3-Clause")) == [replace(found, licence="BSD-3-Clause")]
    assert list(parse_conda(text % "Its own")) == [replace(found, licence_text="Its own")]
    assert make_purl(found, System()) == "pkg:conda/_libgcc_mutex@0.1?build=main&subdir=linux-64"
    for wrong in ("", "[1]", "{}", '{"name": 1, "version": []}', '{"name": "a", "version": "1\\n2"}', "[" * 100_000):
        assert list(parse_conda(wrong)) == []


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        (
            Package(kind="deb", name="libc6", version="1:2.36-9+deb12u10", arch="amd64"),
            "pkg:deb/debian/libc6@1%3A2.36-9%2Bdeb12u10?arch=amd64&distro=debian-12",
        ),
        (Package(kind="pypi", name="numpy", version="2.0.0"), "pkg:pypi/numpy@2.0.0"),
        (Package(kind="cran", name="Rcpp", version="1.0.12", licence_text="GPL (>= 2)"), "pkg:cran/Rcpp@1.0.12"),
    ],
)
def test_package_urls(package: Package, expected: str) -> None:
    assert make_purl(package, System(id="debian", version="12")) == expected


@given(st.text(max_size=300) | st.lists(st.sampled_from(DPKG.splitlines() + PYTHON.splitlines())).map("\n".join))
def test_no_text_is_an_error(text: str) -> None:
    for parse in (parse_dpkg, parse_apk, parse_python, parse_r, parse_conda):
        for package in parse(text):
            assert package.name
            assert "\n" not in package.name + package.version
            assert make_purl(package, parse_system(text)).isascii()
