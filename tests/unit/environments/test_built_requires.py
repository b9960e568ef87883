"""A wheel that was built is the package that was chosen, and asks for nothing else than was chosen with it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from carboy.environments.building.builder import Wheel
from carboy.environments.building.requires import check_platform, check_wheel
from carboy.environments.lock import Package
from carboy.errors import CarboyError

CHOSEN = (
    Package(name="own", version="1.0", requirement="own==1.0"),
    Package(name="six", version="1.16.0", requirement="six==1.16.0"),
    Package(name="far", version="0123456789ab", requirement="far @ https://x.example/far.zip"),
)


def check(*requires: str, name: str = "own", version: str = "1", provided: bool = False) -> None:
    wheel = Wheel(file="w.whl", path="/w", sha256="0" * 64, name=name, version=version, requires=requires)
    check_wheel(wheel, CHOSEN[0], CHOSEN, interpreter="libpython3.11=3.11.2-6", machine="x86_64", provided=provided)


def test_what_was_chosen_meets_what_is_asked_for() -> None:
    check("six>=1.9", "Far", "far>=2", "gone; python_version < '3.8'", "gone; extra == 'more'")
    check("gone", provided=True)


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        ("gone>1", "it requires gone>1, which was not chosen"),
        ("six>=2", "it requires six>=2, and 1.16.0 was chosen"),
        ("?", "which is no requirement"),
    ],
)
def test_what_was_not_chosen_is_named(requires: str, words: str) -> None:
    with pytest.raises(CarboyError) as caught:
        check(requires, provided=words.startswith("it requires six"))
    assert words in (caught.value.details or "")


def test_another_package_or_version_is_named() -> None:
    with pytest.raises(CarboyError) as caught:
        check(name="other", version="2")
    assert caught.value.details == "it is the package other\nit is of version 2"


def test_code_of_this_machine_is_none_of_another() -> None:
    plain = Wheel(file="own-1-py3-none-any.whl", path="/w", sha256="0" * 64, name="own", version="1", requires=())
    native = replace(plain, file="own-1-cp311-cp311-linux_x86_64.whl")
    check_platform(plain, "aarch64-manylinux_2_36")
    check_platform(native, "")
    with pytest.raises(CarboyError, match="has no wheel for the platform"):
        check_platform(native, "aarch64-manylinux_2_36")
