"""Logins: found in all files that Docker, podman and skopeo keep them in, kept and forgotten without harm to the rest."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from carboy.errors import CarboyError
from carboy.remote.logins import HUB_KEY, Login, find_login, forget_login, keep_login, list_files

HELPER = """#!/bin/sh
# docker-credential-fake: a file for each server.
read -r line
case $1 in
get)
    name=$(printf %s "$line" | tr '/:' '__')
    [ -f "{place}/$name" ] || {{ echo "credentials not found in native keychain"; exit 1; }}
    cat "{place}/$name" ;;
store)
    server=$(printf %s "$line" | sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/' | tr '/:' '__')
    printf %s "$line" > "{place}/$server" ;;
erase)
    rm "{place}/$(printf %s "$line" | tr '/:' '__')" ;;
esac
"""


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """Return an environment with a home of its own, where no real login is found."""
    return {"HOME": str(tmp_path), "PATH": f"{tmp_path}/bin:/usr/bin:/bin", "XDG_RUNTIME_DIR": f"{tmp_path}/run"}


@pytest.fixture
def keychain(tmp_path: Path) -> Path:
    """Install docker-credential-fake and return the folder of what it keeps."""
    place = tmp_path / "keychain"
    place.mkdir()
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "docker-credential-fake"
    program.write_text(HELPER.format(place=place))
    program.chmod(0o755)
    return place


def write(path: Path | str, **document: Any) -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


def auth(user: str, password: str = "secret") -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def docker_file(environ: dict[str, str]) -> Path:
    return Path(environ["HOME"]) / ".docker" / "config.json"


def find(environ: dict[str, str], name: str = "r.example.com/a/b") -> Login | None:
    registry, _, repository = name.partition("/")
    return find_login(registry, repository, environ=environ)


def test_every_file_in_its_order(environ: dict[str, str], tmp_path: Path) -> None:
    environ |= {"REGISTRY_AUTH_FILE": f"{tmp_path}/own.json", "DOCKER_CONFIG": f"{tmp_path}/docker"}
    files = [
        f"{tmp_path}/own.json",
        f"{tmp_path}/run/containers/auth.json",
        f"{tmp_path}/.config/containers/auth.json",
        f"{tmp_path}/docker/config.json",
        f"{tmp_path}/.dockercfg",
    ]
    assert list_files(environ) == tuple(files)
    assert find(environ) is None
    write(files[4], **{"https://r.example.com/v1/": auth("4")})
    assert find(environ) == Login(user="4", password="secret")
    for number in (3, 2, 1, 0):
        write(files[number], auths={"r.example.com": auth(str(number))})
        found = find(environ)
        assert found is not None
        assert found.user == str(number)
    write(files[0], auths={"other.example.com": auth("o")})
    found = find(environ)
    assert found is not None
    assert found.user == "1"


def test_without_a_runtime_folder_and_with_a_folder_of_settings(environ: dict[str, str], tmp_path: Path) -> None:
    del environ["XDG_RUNTIME_DIR"]
    environ["XDG_CONFIG_HOME"] = f"{tmp_path}/settings"
    found = [path for path in list_files(environ) if not path.startswith("/run/containers/")]
    assert found == [
        f"{tmp_path}/settings/containers/auth.json",
        f"{tmp_path}/.docker/config.json",
        f"{tmp_path}/.dockercfg",
    ]


def test_the_longest_name_counts(environ: dict[str, str], tmp_path: Path) -> None:
    names = ["r.example.com", "r.example.com/a", "r.example.com/a/b", "r.example.com/a/b/c", "r.example.com/x"]
    write(f"{tmp_path}/.config/containers/auth.json", auths={name: auth(name) for name in names})
    for name, user in (
        ("r.example.com/a/b", names[2]),
        ("r.example.com/a/b/c/d", names[3]),
        ("r.example.com/a/z", names[1]),
        ("r.example.com/ab", names[0]),
    ):
        found = find(environ, name)
        assert found is not None
        assert found.user == user
    assert find(environ, "r.example.com:5000/a") is None


def test_entries_as_they_are_written(environ: dict[str, str]) -> None:
    for entry, wanted in (
        (auth("me", "a:b:c"), Login(user="me", password="a:b:c")),
        (auth("me", "pass\0"), Login(user="me", password="pass")),
        ({"username": "me", "password": "p:q"}, Login(user="me", password="p:q")),
        ({**auth("me", ""), "identitytoken": "idt"}, Login(user="me", identity_token="idt")),
        ({"identitytoken": "idt"}, Login(identity_token="idt")),
        ({"registrytoken": "rt"}, Login(registry_token="rt")),
        ({}, None),
        ({"auth": ""}, None),
        ({"auth": 5}, None),
    ):
        write(docker_file(environ), auths={"r.example.com": entry})
        assert find(environ) == wanted


@pytest.mark.parametrize(
    "key", [HUB_KEY, "docker.io", "index.docker.io", "https://registry-1.docker.io/v2/", "index.docker.io/v1"]
)
def test_names_of_the_hub(environ: dict[str, str], key: str) -> None:
    write(docker_file(environ), auths={key: auth("me")})
    assert find(environ, "docker.io/library/x") == Login(user="me", password="secret")
    assert forget_login("docker.io", environ=environ) == [str(docker_file(environ))]
    assert find(environ, "docker.io/library/x") is None


@pytest.mark.parametrize(
    "key", ["https://r.example.com", "http://r.example.com/", "r.example.com/v2/", "r.example.com"]
)
def test_names_with_more_to_them(environ: dict[str, str], key: str) -> None:
    write(docker_file(environ), auths={key: auth("me")})
    assert find(environ) == Login(user="me", password="secret")


def test_helpers_before_the_file(environ: dict[str, str], keychain: Path, tmp_path: Path) -> None:
    other = tmp_path / "bin" / "docker-credential-other"
    other.write_text('#!/bin/sh\necho \'{"ServerURL": "", "Username": "other", "Secret": "s"}\'\n')
    other.chmod(0o755)
    helpers = {"r.example.com": "fake"}
    auths = {"r.example.com": {}, "q.example.com": auth("file")}
    write(docker_file(environ), credHelpers=helpers, credsStore="other", auths=auths)
    assert find(environ) is None  # an empty entry: the helper has it, or nobody
    (keychain / "r.example.com").write_text('{"ServerURL": "", "Username": "me", "Secret": "a:b"}')
    assert find(environ) == Login(user="me", password="a:b")
    (keychain / "r.example.com").write_text('{"ServerURL": "", "Username": "<token>", "Secret": "idt"}')
    assert find(environ) == Login(identity_token="idt")
    assert find(environ, "q.example.com/x") == Login(user="other", password="s")
    write(docker_file(environ), credsStore="fake", auths={"q.example.com": auth("file")})
    assert find(environ, "q.example.com/x") == Login(user="file", password="secret")  # what the helper has not


def test_the_hub_is_asked_for_by_its_own_name(environ: dict[str, str], keychain: Path) -> None:
    write(docker_file(environ), credsStore="fake")
    (keychain / "https___index.docker.io_v1_").write_text('{"Username": "me", "Secret": "s"}')
    assert find(environ, "docker.io/library/x") == Login(user="me", password="s")


def test_kept_and_forgotten_beside_what_others_keep(environ: dict[str, str]) -> None:
    rest = {"HttpHeaders": {"a": "b"}, "psFormat": "table", "proxies": {}}
    path = write(docker_file(environ), auths={"other.example.com": auth("o")}, **rest)
    path.chmod(0o644)
    assert keep_login("r.example.com", Login(user="me", password="p:ä"), environ=environ) == str(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    document = json.loads(path.read_text())
    assert {key: document[key] for key in rest} == rest
    assert document["auths"] == {"other.example.com": auth("o"), "r.example.com": auth("me", "p:ä")}
    assert find(environ) == Login(user="me", password="p:ä")
    assert forget_login("r.example.com", environ=environ) == [str(path)]
    assert json.loads(path.read_text()) == {**rest, "auths": {"other.example.com": auth("o")}}
    assert forget_login("r.example.com", environ=environ) == []


def test_a_file_is_made_for_its_owner_alone(environ: dict[str, str]) -> None:
    path = Path(keep_login("docker.io", Login(user="me", identity_token="idt"), environ=environ))
    assert path == docker_file(environ)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert json.loads(path.read_text()) == {"auths": {HUB_KEY: {**auth("me", ""), "identitytoken": "idt"}}}


def test_a_link_stays_one(environ: dict[str, str], tmp_path: Path) -> None:
    target = write(tmp_path / "dotfiles" / "config.json", auths={})
    docker_file(environ).parent.mkdir()
    docker_file(environ).symlink_to(target)
    keep_login("r.example.com", Login(user="me", password="p"), environ=environ)
    assert docker_file(environ).is_symlink()
    assert "r.example.com" in json.loads(target.read_text())["auths"]


def test_the_named_file_is_written(environ: dict[str, str], tmp_path: Path) -> None:
    environ["REGISTRY_AUTH_FILE"] = f"{tmp_path}/own/auth.json"
    assert keep_login("r.example.com", Login(user="me", password="p"), environ=environ) == f"{tmp_path}/own/auth.json"
    assert not docker_file(environ).exists()


def test_a_helper_keeps_it_and_the_file_does_not(environ: dict[str, str], keychain: Path) -> None:
    path = write(docker_file(environ), credsStore="fake", auths={"https://r.example.com": auth("old")})
    login = Login(user="me", password="canary")
    assert keep_login("r.example.com", login, environ=environ) == "docker-credential-fake"
    assert json.loads(path.read_text()) == {"credsStore": "fake", "auths": {"r.example.com": {}}}
    assert find(environ) == login
    assert forget_login("r.example.com", environ=environ) == ["docker-credential-fake"]
    assert list(keychain.iterdir()) == []
    assert json.loads(path.read_text()) == {"credsStore": "fake", "auths": {}}
    keep_login("r.example.com", Login(identity_token="idt"), environ=environ)
    assert find(environ) == Login(identity_token="idt")


def test_forgotten_wherever_it_is(environ: dict[str, str], tmp_path: Path) -> None:
    old = write(f"{tmp_path}/.dockercfg", **{"r.example.com": auth("a"), "o.example.com": auth("o")})
    podmans = write(f"{tmp_path}/run/containers/auth.json", auths={"r.example.com": auth("b")})
    assert forget_login("r.example.com", environ=environ) == [str(podmans), str(old)]
    assert find(environ) is None
    assert json.loads(old.read_text()) == {"o.example.com": auth("o")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", "no JSON object"),
        ("{", "no JSON object"),
        ("\x00", "no JSON object"),
        ('{"auths": {"r.example.com": {"auth": "!"}}}', "the login for r.example.com cannot be read"),
        ('{"auths": {"r.example.com": {"auth": "gICA"}}}', "the login for r.example.com cannot be read"),
    ],
)
def test_a_file_that_cannot_be_read(environ: dict[str, str], text: str, said: str) -> None:
    write(docker_file(environ)).write_text(text)
    with pytest.raises(CarboyError, match=said) as caught:
        find(environ)
    assert "log" in caught.value.hint


@pytest.mark.parametrize(
    "text", ["", " \n", "{}", '{"auths": null}', '{"auths": []}', '{"credHelpers": 3, "credsStore": 1}']
)
def test_a_file_with_nothing_in_it(environ: dict[str, str], text: str) -> None:
    write(docker_file(environ)).write_text(text)
    assert find(environ) is None
    assert forget_login("r.example.com", environ=environ) == []


def test_no_password_is_shown() -> None:
    shown = repr(Login(user="me", password="canary", identity_token="canary", registry_token="canary"))
    assert "canary" not in shown
