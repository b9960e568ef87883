"""uv's pylock.toml to packages with hashes, and packages to layers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.environments.detect.sources import PLACE
from carboy.environments.groups import BINS, LARGE_BYTES, MAX_OWN, plan_groups
from carboy.environments.lock import Package, normalise, parse_hashes, parse_pylock, render_lock
from carboy.errors import CarboyError

A, B, C = "a" * 64, "b" * 64, "c" * 64
PYLOCK = f"""
lock-version = "1.0"

[[packages]]
name = "numpy"
version = "2.1.3"
sdist = {{ url = "https://index.example/numpy-2.1.3.tar.gz", size = 20, hashes = {{ sha256 = "{B}" }} }}
wheels = [{{ url = "https://index.example/numpy-2.1.3-cp311-x.whl", size = 16000000, hashes = {{ sha256 = "{A}" }} }}]

[[packages]]
name = "Flask_Login"
version = "1.0"
sdist = {{ url = "https://index.example/flask_login-1.0.tar.gz", hashes = {{ sha256 = "{C}" }} }}
"""


def test_packages_have_the_hash_of_the_file_that_is_installed_and_no_address() -> None:
    login, numpy = parse_pylock(PYLOCK)
    assert numpy == Package(
        name="numpy", version="2.1.3", requirement=f"numpy==2.1.3 --hash=sha256:{A}", size_bytes=16_000_000
    )
    assert (login.name, login.built, login.size_bytes) == ("flask-login", True, 0)
    assert render_lock((login, numpy)) == f"Flask_Login==1.0 --hash=sha256:{C}\nnumpy==2.1.3 --hash=sha256:{A}\n"
    assert "example" not in render_lock((login, numpy))


def test_files_without_a_size_are_measured() -> None:
    asked: list[str] = []
    parse_pylock(PYLOCK, measure=lambda address: asked.append(address) or 7)  # type: ignore[func-returns-value]
    assert asked == ["https://index.example/flask_login-1.0.tar.gz"]


def test_hashes_of_a_given_lock_win() -> None:
    given_lock = (
        f"numpy==2.1.3 \\\n    --hash=sha256:{B} \\\n    --hash=sha256:{A}\nflask.login==1.0 --hash=sha256:{C}\n"
    )
    assert parse_hashes(given_lock) == {"numpy": (A, B), "flask-login": (C,)}
    _, numpy = parse_pylock(PYLOCK, allowed=given_lock)
    assert numpy.requirement == f"numpy==2.1.3 --hash=sha256:{A}"  # the one that is installed, because it is allowed
    _, numpy = parse_pylock(PYLOCK, allowed=given_lock.replace(A, C))
    assert numpy.requirement == f"numpy==2.1.3 --hash=sha256:{B} --hash=sha256:{C}"
    # A lock that allows the source alone has that built, whatever wheels there are.
    login, numpy = parse_pylock(PYLOCK, allowed=given_lock.replace(f" \\\n    --hash=sha256:{A}", ""))
    assert (numpy.requirement, numpy.size_bytes) == (f"numpy==2.1.3 --hash=sha256:{B}", 20)
    assert numpy.is_source
    assert login.is_source
    with pytest.raises(CarboyError, match="the lock does not name Flask_Login"):
        parse_pylock(PYLOCK, allowed=f"numpy==2.1.3 --hash=sha256:{A}")


def test_an_archive_at_an_address_is_named_by_it() -> None:
    url = "https://x.example/own-1-py3-none-any.whl"
    text = f'[[packages]]\nname = "own"\narchive = {{ url = "{url}", hashes = {{ sha256 = "{A}" }} }}\n'
    inside = text.replace("hashes", 'subdirectory = "libs/own", hashes')
    assert parse_pylock(inside)[0].requirement == f"own @ {url}#subdirectory=libs/own --hash=sha256:{A}"
    for path in ("sources/libs/own.folder.tar.gz", f"{PLACE}/libs/own.folder.tar.gz"):
        place = text.replace(f'url = "{url}"', f'path = "{path}"')
        (own,) = parse_pylock(place)
        assert own.requirement == f"own @ file://{PLACE}/libs/own.folder.tar.gz --hash=sha256:{A}"
        assert own.is_source
    (own,) = parse_pylock(text)
    assert own.requirement == f"own @ {url} --hash=sha256:{A}"
    assert (own.version, own.built) == (A[:12], False)


@pytest.mark.parametrize(
    ("package", "message"),
    [
        ('vcs = { type = "git", url = "https://x.example/own.git", commit-id = "abc" }', "a repository has no hash"),
        ('directory = { path = "own", editable = true }', "a folder has no hash"),
        ('version = "1"', "has no SHA-256"),
        ('version = "1"\nwheels = [{ url = "u", hashes = { sha256 = "short" } }]', "has no SHA-256"),
        (f'version = "1 --index-url x"\nwheels = [{{ url = "u", hashes = {{ sha256 = "{A}" }} }}]', "cannot be locked"),
    ],
)
def test_what_has_no_hash_is_refused(package: str, message: str) -> None:
    with pytest.raises(CarboyError, match=message):
        parse_pylock(f'[[packages]]\nname = "own"\n{package}\n')


def test_a_lock_that_is_none_is_refused() -> None:
    with pytest.raises(CarboyError, match="not valid TOML"):
        parse_pylock("packages = [")


@pytest.mark.parametrize("name", ["Flask_Login", "flask-login", "FLASK.login", "flask-_.login"])
def test_names_are_compared_as_pep_503_says(name: str) -> None:
    assert normalise(name) == "flask-login"


PACKAGES = st.lists(
    st.builds(
        lambda name, size: Package(name=name, version="1", requirement=f"{name}==1 --hash=sha256:{A}", size_bytes=size),
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.sampled_from([1, 10_000, LARGE_BYTES, 5 * LARGE_BYTES]),
    ),
    unique_by=lambda package: package.name,
    max_size=90,
)


def keys(packages: list[Package], *, interpreter: str = "3.11", base: str = "base") -> list[str]:
    return [group.key for group in plan_groups(packages, interpreter=interpreter, base=base)]


@given(packages=PACKAGES, data=st.data())
def test_one_package_less_changes_one_layer(packages: list[Package], data: st.DataObject) -> None:
    groups = plan_groups(packages, interpreter="3.11", base="base")
    assert sorted(p.name for group in groups for p in group.packages) == sorted(p.name for p in packages)
    assert len(groups) <= MAX_OWN + BINS
    assert keys(data.draw(st.permutations(packages))) == [group.key for group in groups]
    if packages and sum(p.size_bytes >= LARGE_BYTES for p in packages) <= MAX_OWN:
        gone = data.draw(st.sampled_from(packages))
        less = keys([package for package in packages if package != gone])
        assert len(set(less) - {group.key for group in groups}) <= 1
        assert len({group.key for group in groups} - set(less)) == 1


def test_keys_cover_what_the_bytes_depend_on() -> None:
    (wheel,) = (Package(name="a", version="1", requirement=f"a==1 --hash=sha256:{A}", size_bytes=5),)
    source = Package(name="a", version="1", requirement=f"a==1 --hash=sha256:{A}", size_bytes=5, built=True)
    other = Package(name="a", version="1", requirement=f"a==1 --hash=sha256:{B}", size_bytes=5)
    assert keys([wheel]) == keys([wheel], base="another")  # a wheel is the same on any base
    assert keys([source]) != keys([source], base="another")
    assert len({*keys([wheel]), *keys([other]), *keys([source]), *keys([wheel], interpreter="3.13")}) == 4


def test_titles_name_the_packages() -> None:
    def package(number: int) -> Package:
        return Package(name=f"p{number}", version="1", requirement=f"p{number}==1", size_bytes=1)

    titles = [group.title for group in plan_groups([package(n) for n in range(60)], interpreter="", base="")]
    assert len(titles) == BINS
    assert any(title.endswith(" more") for title in titles)
