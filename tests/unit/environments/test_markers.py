"""Markers of packages that are built before uv is asked."""

from __future__ import annotations

import pytest

from carboy.environments.detect.markers import fits
from carboy.errors import CarboyError

DEBIAN = "libpython3.11-minimal=3.11.2-6+deb12u6 libpython3.11-stdlib=3.11.2-6+deb12u6"


@pytest.mark.parametrize(
    ("marker", "expected"),
    [
        ("", True),
        ("; python_version >= '3.11'", True),
        ("; python_version < '3.11'", False),
        ("; python_full_version == '3.11.2'", True),
        (";sys_platform == 'win32'", False),
        ("; platform_system == 'Linux' and os_name == 'posix'", True),
        ("; platform_machine == 'aarch64'", False),
        ("; implementation_name == 'pypy'", False),
        ("; extra == 'plots'", True),
        ("; extra == 'plots' and python_version < '3'", False),
        ("; extra == 'docs'", False),
        ("; (extra == 'docs') or (extra == 'plots')", True),
    ],
)
def test_a_marker_is_read_for_the_image(marker: str, expected: bool) -> None:
    assert fits(marker, interpreter=DEBIAN, machine="x86_64", extras=("plots",)) is expected


def test_the_python_of_conda_counts() -> None:
    text = "python 3.12.7 h1_0_cpython in /opt/conda"
    assert fits("; python_version == '3.12'", interpreter=text, machine="x86_64")


@pytest.mark.parametrize("marker", ["; python_version", "; nothing == '1'", "; python_version >= 3"])
def test_what_is_no_marker_is_named(marker: str) -> None:
    with pytest.raises(CarboyError, match="no marker: "):
        fits(marker, interpreter=DEBIAN, machine="x86_64")
