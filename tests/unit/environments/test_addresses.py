"""Where the files of locked packages are, and whether a bundle's versions are those that were asked for."""

from __future__ import annotations

import pytest

from carboy.environments.addresses import (
    SourceFile,
    StandIns,
    add_credentials,
    find_address,
    is_file_name,
    name_place,
    parse_addresses,
    plan_pins,
    point_elsewhere,
)
from carboy.environments.detect.sources import PLACE
from carboy.environments.lock import Package, settle_chosen
from carboy.errors import CarboyError

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
LOCK = f"""
lock-version = "1.0"
[[packages]]
name = "Click"
version = "8.1.7"
sdist = {{ url = "https://example.org/f/click-8.1.7.tar.gz", size = 3, hashes = {{ sha256 = "{A}" }} }}
wheels = [{{ url = "https://example.org/f/click-8.1.7-py3-none-any.whl#x=1", size = 5, hashes = {{ sha256 = "{B}" }} }}]
[[packages]]
name = "local"
version = "1"
wheels = [{{ path = "../../wheels/local-1-py3-none-any.whl", hashes = {{ sha256 = "{C}" }} }}]
"""


def package(name: str, *hashes: str, version: str = "8.1.7") -> Package:
    marks = "".join(f" --hash=sha256:{one}" for one in hashes)
    return Package(name=name, version=version, requirement=f"{name}=={version}{marks}")


def test_the_file_with_the_locked_hash_is_found() -> None:
    local = package("local", C, version="1")
    wheel, other = parse_addresses(LOCK, packages=(package("click", B), local), work="/run/carboy/work")
    assert (wheel.name, wheel.sha256, wheel.size_bytes) == ("click-8.1.7-py3-none-any.whl", B, 5)
    assert wheel.is_wheel
    assert (other.address, other.size_bytes) == ("/run/wheels/local-1-py3-none-any.whl", None)
    sdist, _ = parse_addresses(LOCK, packages=(package("click", A), local), work="/w")
    assert sdist.address == "https://example.org/f/click-8.1.7.tar.gz"
    assert not sdist.is_wheel
    with pytest.raises(CarboyError, match="no index has a file of click"):
        parse_addresses(LOCK, packages=(package("click", C), local), work="/w")
    with pytest.raises(CarboyError, match="any more"):
        parse_addresses(LOCK, packages=(package("click", A), local, package("gone", A)), work="/w")


def test_a_package_by_its_address_has_one_file() -> None:
    def ask(host: str, packages: tuple[Package, ...] | None, more: str = "") -> tuple[SourceFile, ...]:
        text = f'archive = {{ url = "https://{host}/x.zip", {more}hashes = {{ sha256 = "{A}" }} }}\n'
        return parse_addresses(f'[[packages]]\nname = "x"\n{text}', packages=packages, work="/w")

    own = Package(name="x", version="1", requirement=f"x @ https://example.org/x.zip --hash=sha256:{A}")
    (found,) = ask("example.org", (own,))
    assert (found.address, found.sha256) == ("https://example.org/x.zip", A)
    for host, packages, more in (
        ("example.org", None, ""),
        ("me:secret@example.org", (own,), ""),
        ("example.org", (own,), 'subdirectory = "in", '),
    ):
        with pytest.raises(CarboyError, match="named by an address that") as raised:
            ask(host, packages, more)
        assert "secret" not in raised.value.details


def test_indexes_stay_and_versions_are_pinned() -> None:
    pins = plan_pins("--index-url https://example.org/simple\nclick>=8\n", (package("click", A),))
    assert pins == f"--index-url https://example.org/simple\nclick==8.1.7 --hash=sha256:{A}\n"


def test_credentials_are_those_of_the_index_on_the_same_host() -> None:
    env = {"UV_DEFAULT_INDEX": "https://me:se%40cret@example.org/simple"}
    assert add_credentials("https://example.org/f/x.whl", env, "") == "https://me:se%40cret@example.org/f/x.whl"
    assert add_credentials("https://example.com/f/x.whl", env, "") == "https://example.com/f/x.whl"
    assert add_credentials("http://example.org/f/x.whl", env, "") == "http://example.org/f/x.whl"


@pytest.mark.parametrize("name", ["a-1.tar.gz", "a_b-1.0+cpu-py3-none-any.whl", "a-1.zip"])
def test_names_of_files(name: str) -> None:
    assert is_file_name(name)
    assert not is_file_name(f"../{name}")
    assert not is_file_name(f"{name}.exe")


def test_a_bundle_cannot_choose_for_the_requirements() -> None:
    ours = (package("click", B),)
    settle_chosen(ours, (package("click", B, C),), allowed="")
    settle_chosen(ours, ours, allowed=f"click==8.1.7 --hash=sha256:{B} --hash=sha256:{A}\n")
    for chosen, found, allowed in (
        (ours, (package("click", B, version="8.1.8"),), ""),
        (ours, (package("click", A),), ""),
        (ours, (), ""),
        ((), ours, ""),
        ((package("click", B, C),), ours, f"click==8.1.7 --hash=sha256:{B}\n"),
    ):
        with pytest.raises(CarboyError, match="not what the requirements come to"):
            settle_chosen(chosen, found, allowed=allowed)


def test_what_lies_in_the_folder_is_what_it_is_there() -> None:
    own = Package(name="own", version="1", requirement=f"own @ file://{PLACE}/libs/own.folder.tar.gz --hash=sha256:{A}")
    ours = (package("zope", B),)
    assert settle_chosen(ours, (*ours, own), allowed=f"zope==8.1.7 --hash=sha256:{B}\n") == (own, *ours)


def test_requirements_point_at_files_that_stand_in_for_addresses() -> None:
    far, place = "https://example.org/far-1.zip", name_place(A, "far-1.zip")
    text = (
        "--index-url https://example.org/simple\nclick\n"
        f"Far.Away[x] @ {far}#sha256={A} ; python_version > '3' --hash=sha256:{A}\n"
        f"{far}\nother @ {far}\nfar-away @ https://example.org/far-2.zip\n"
    )
    pointed, overrides = point_elsewhere(text, {"far-away": (far, place)})
    assert pointed.splitlines() == [
        "--index-url https://example.org/simple",
        "click",
        f"far-away[x] @ {place} ; python_version > '3' --hash=sha256:{A}",
        f"far-away @ {place}",
        f"other @ {far}",  # what a bundle says of one name counts for no other
        "far-away @ https://example.org/far-2.zip",
    ]
    assert overrides.splitlines() == [f"far-away[x] @ {place}", f"far-away @ {place}"]
    line = f"far-away @ {far} --hash=sha256:{A}"
    assert find_address(line) == far
    assert find_address("click==8.1.7") == ""
    stand_ins = StandIns(folder="/f", places=((far, place),))
    assert stand_ins.replace(line) == f"far-away @ {place} --hash=sha256:{A}"
    assert stand_ins.replace("click==8.1.7") == "click==8.1.7"
