"""Images to registries and from them, by the program: Debian's docker-registry, other tools on the other side, and bad luck."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from dockerfiles import Builder
from peer_tools import open_podman
from registries import (
    HTPASSWD,
    PASSWORD,
    USER,
    Registry,
    Seen,
    TokenAuthority,
    open_distribution,
    open_web,
    serve,
)
from small_image import SMALL, make_small_image

from carboy.oci.platform import Platform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from registries import Answer, Authority, Distribution

    from conftest import Carboy, Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

HERE = Platform.current().architecture
OTHER = "arm64" if HERE == "amd64" else "amd64"


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Distribution]:
    """Return a registry for everybody, without TLS."""
    with open_distribution(tmp_path_factory.mktemp("plain")) as found:
        yield found


@pytest.fixture
def place(tier_carboy: Carboy) -> Iterator[Path]:
    """Return a folder of the person's."""
    folder = tier_carboy.home.with_name(f"registries-{uuid.uuid4().hex[:12]}")
    folder.mkdir(mode=0o755)
    shutil.chown(folder, tier_carboy.person.uid, tier_carboy.person.gid)
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def mine(carboy: Carboy) -> Carboy:
    """Return a runner of root's, with ``small:test`` and a home where no login of anybody's is."""
    make_small_image(carboy)
    return carboy.using(carboy.home, XDG_RUNTIME_DIR=str(carboy.home.parent))


def inspect(carboy: Carboy, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(carboy("inspect", name).stdout)[0]
    return found


def outcomes(text: str) -> list[str]:
    """Return what came of each blob."""
    return sorted(line.partition(": ")[2] for line in text.splitlines() if line[:12].isalnum() and line[12:14] == ": ")


def test_there_and_back(small_carboy: Carboy, place: Path, plain: Distribution) -> None:
    name = f"{plain.host}/{small_carboy.person.tier}/{uuid.uuid4().hex[:8]}:1"
    repository = name.partition("/")[2].removesuffix(":1")
    small_carboy("tag", SMALL, name)
    pushed = small_carboy("push", name).stdout
    assert pushed.startswith(f"The push refers to repository [{name.removesuffix(':1')}]\n")
    assert set(outcomes(pushed)) == {"Pushed"}
    digest = pushed.splitlines()[-1].split()[2]
    other = small_carboy.using(place / "home")
    pulled = other("pull", name).stdout
    assert f"1: Pulling from {repository}\n" in pulled
    assert set(outcomes(pulled)) == {"Pull complete"}
    assert pulled.endswith(f"Digest: {digest}\nStatus: Downloaded newer image for {name}\n{name}\n")
    assert other("run", "--rm", name, "sh", "-c", "echo here; id -u").stdout == "here\n0\n"


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_what_is_said_of_a_built_image_goes_along(builder: Builder, place: Path, plain: Distribution) -> None:
    """Debian's registry knows nothing of referrers: they are found by the tag that stands for their list."""
    carboy, name = builder.carboy, f"{plain.host}/said/{uuid.uuid4().hex[:8]}:1"
    builder.build("FROM small:test\nRUN echo > /made\n", "-t", name)
    pushed = carboy("push", name)
    assert pushed.stderr == ""
    digest = pushed.stdout.splitlines()[-1].split()[2]
    other = carboy.using(place / "home")
    other("pull", "-a", name.removesuffix(":1"))
    (found,) = json.loads(other("inspect", name).stdout)
    assert found["Digest"] == digest
    assert {one["Subject"] for one in found["Referrers"]} == {digest}
    assert len(found["Referrers"]) == 4
    statement = json.loads(other("provenance", name).stdout)
    assert statement["subject"][0]["digest"] == {"sha256": digest.partition(":")[2]}
    bare = name.replace(":1", "/bare:1")
    carboy("tag", name, bare)
    carboy("push", "-q", "--no-documents", bare)
    other("pull", "-q", bare)
    carboy("rmi", name, bare)


@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
def test_a_registry_that_takes_no_artifacts_has_the_image_all_the_same(builder: Builder) -> None:
    registry = Registry(referrers=True)
    builder.build("FROM small:test\nRUN echo > /made\n", "-t", "said:7")
    with serve(registry.answer) as server:
        name = f"{server.host}/a/b:1"
        builder.carboy("tag", "said:7", name)
        builder.carboy("push", "-q", name)
        assert registry.tags("a/b") == ["1"]  # it keeps the list of referrers itself
        assert len(registry.manifests) == 6  # by tag and digest, and four that refer to it
        registry.guard = lambda kind, _repository, seen: (
            (400, {}, b"") if kind == "manifest" and b"artifactType" in seen.body else None
        )
        builder.carboy("tag", "said:7", name.replace(":1", ":2"))
        done = builder.carboy("push", "-q", name.replace(":1", ":2"))
        assert "note: SBOM, provenance and licences were not sent along" in done.stderr
        assert registry.tags("a/b") == ["1", "2"]
        builder.carboy("rmi", "said:7", name, name.replace(":1", ":2"))


@pytest.mark.long
def test_nothing_goes_or_comes_twice(mine: Carboy, plain: Distribution) -> None:
    name = f"{plain.host}/twice/{uuid.uuid4().hex[:8]}:1"
    repository = name.partition("/")[2].removesuffix(":1")
    mine("tag", SMALL, name)
    digest = mine("push", "-q", name).stdout.strip()
    assert set(outcomes(mine("push", name).stdout)) == {"Layer already exists"}
    second = name.replace(":1", "/other:2")
    mine("tag", SMALL, second)
    assert set(outcomes(mine("push", second).stdout)) == {f"Mounted from {repository}"}

    other = mine.using(mine.home.with_name("other"))
    other("pull", name)
    again = other("pull", name).stdout
    assert set(outcomes(again)) == {"Already exists"}
    assert f"Status: Image is up to date for {name}\n" in again
    by_digest = f"{name.removesuffix(':1')}@{digest}"
    assert other("pull", "-q", by_digest).stdout == f"{by_digest}\n"
    assert other("run", "--rm", by_digest, "echo", "here").stdout == "here\n"
    other("system", "check")
    absent = other("pull", name.replace(":1", ":absent"), expect=1)
    assert f"there is no image {repository}:absent at {plain.host}" in absent.stderr


@pytest.mark.long
def test_all_tags_and_compressions(mine: Carboy, plain: Distribution) -> None:
    name = f"{plain.host}/all/{uuid.uuid4().hex[:8]}"
    for tag in ("1", "2"):
        mine("tag", SMALL, f"{name}:{tag}")
    said = mine("push", "--all-tags", name).stdout
    assert [line.partition(": digest")[0] for line in said.splitlines() if ": digest" in line] == ["1", "2"]
    mine("tag", SMALL, f"{name}:z")
    for kind, media_type in (("zstd", "tar+zstd"), ("uncompressed", "layer.v1.tar"), ("gzip", "tar+gzip")):
        digest = mine("push", "-q", "--compression", kind, f"{name}:z").stdout.strip()
        layers = plain.find(digest)["layers"]
        assert all(layer["mediaType"].endswith(media_type) for layer in layers)  # type: ignore[attr-defined]
        other = mine.using(mine.home.with_name(f"other-{kind}"))
        other("pull", f"{name}:z")
        assert other("run", "--rm", f"{name}:z", "echo", kind).stdout == f"{kind}\n"
    other = mine.using(mine.home.with_name("other"))
    pulled = other("pull", "-q", "--all-tags", name).stdout.split()  # in the registry's own order
    assert sorted(pulled) == [f"{name}:{tag}" for tag in ("1", "2", "z")]
    assert "tag can't be used" in other("pull", "-a", f"{name}:1", expect=2).stderr
    assert "there is no image of" in other("push", "-a", f"{plain.host}/none", expect=1).stderr
    assert "pushed to a digest" in other("push", f"{name}@{digest}", expect=2).stderr


@pytest.mark.long
def test_platforms_and_what_is_said_of_them(mine: Carboy, plain: Distribution, tmp_path: Path) -> None:
    """An index goes and comes as one; the attestations of an image stay with it, about the manifest that was pushed."""
    name = f"{plain.host}/both/{uuid.uuid4().hex[:8]}:1"
    builder = Builder(mine, tmp_path / "context")
    builder.folder.mkdir()
    text = "FROM scratch\nARG TARGETARCH\nCOPY Dockerfile /made-for-$TARGETARCH\n"
    builder.build(text, "--platform", f"linux/{HERE},linux/{OTHER}", "-t", name)
    digest = mine("push", "-q", name).stdout.strip()
    index = plain.find(digest)
    assert [one["platform"]["architecture"] for one in index["manifests"]] == [HERE, OTHER]  # type: ignore[attr-defined]
    other = mine.using(mine.home.with_name("other"))
    other("pull", name)
    assert inspect(other, name)["Architecture"] == HERE
    other("pull", "--platform", f"linux/{OTHER}", name)
    assert inspect(other, name)["Architecture"] == OTHER
    assert "has nothing for linux/s390x" in other("pull", "--platform", "s390x", name, expect=1).stderr

    said = name.replace("both", "said")
    builder.build("FROM small:test\nCOPY Dockerfile /\n", "--sbom=true", "--provenance=mode=max", "-t", said)
    digest = mine("push", "-q", said).stdout.strip()
    image, about = plain.find(digest)["manifests"]  # type: ignore[misc]
    assert about["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    other("pull", said)
    assert inspect(other, said)["Digest"] == image["digest"]
    kinds = {one["PredicateType"] for one in inspect(other, said)["Attestations"]}
    assert {"https://spdx.dev/Document", "https://slsa.dev/provenance/v1"} <= kinds
    for layer in plain.find(about["digest"])["layers"]:  # type: ignore[attr-defined]
        (subject,) = plain.find(layer["digest"])["subject"]  # type: ignore[misc]
        assert f"sha256:{subject['digest']['sha256']}" == image["digest"]
    # And from there into a third repository, with all of it.
    other("tag", said, f"{said}-again")
    assert other("push", "-q", f"{said}-again").stdout.strip() == digest


# --- large layers ---------------------------------------------------------------------------------------------------


def push_versions(builder: Builder, name: str, *options: str) -> Iterator[bytes]:
    """Push ``NAME:1`` and ``NAME:2``, and yield what /data of each is: 17 MB, of which one part in a hundred changes."""
    chance = random.Random(6)
    data = bytearray(chance.randbytes(17_000_000))
    for tag in ("1", "2"):
        (builder.folder / "data").write_bytes(data)
        builder.build(f"FROM {SMALL}\nCOPY data /\n", "-t", f"{name}:{tag}")
        builder.carboy("push", "-q", *options, f"{name}:{tag}")
        yield bytes(data)
        data[5_000_000:5_170_000] = chance.randbytes(170_300)


@pytest.mark.parametrize(
    "tier_carboy",
    ["root", *(pytest.param(tier, marks=pytest.mark.long) for tier in ("subuid", "single"))],
    indirect=True,
)
def test_of_a_large_file_comes_what_changed(builder: Builder, place: Path, plain: Distribution) -> None:
    name = f"{plain.host}/large/{uuid.uuid4().hex[:8]}"
    other = builder.carboy.using(place / "home")
    for tag, _ in zip(("1", "2"), push_versions(builder, name), strict=True):
        told = (plain.folder / "log").stat().st_size
        pulled = other("pull", f"{name}:{tag}").stdout
        said = (plain.folder / "log").read_bytes()[told:]
    found = re.search(r": Pull complete, ([0-9.]+) MB of ([0-9.]+) MB fetched\n", pulled)
    assert found is not None, pulled
    assert 0.2 <= float(found[1]) < 2.5 < 17 <= float(found[2])
    # The registry has sent no more.
    blobs = [line for line in said.splitlines() if b"response completed" in line and b"/blobs/" in line]
    assert sum(int(line.rpartition(b"http.response.written=")[2].split()[0]) for line in blobs) < 2_600_000


@pytest.mark.long
@pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
@pytest.mark.parametrize("kind", ["gzip", "zstd"])
def test_other_tools_read_layers_in_pieces(builder: Builder, plain: Distribution, tmp_path: Path, kind: str) -> None:
    name = f"{plain.host}/large-{kind}/{uuid.uuid4().hex[:8]}"
    data = list(push_versions(builder, name, "--compression", kind))[1]
    with open_podman() as podman:
        podman("pull", "--tls-verify=false", f"{name}:2")
        assert podman.run(f"{name}:2", "busybox", "sha256sum", "/data").split()[0] == hashlib.sha256(data).hexdigest()
    if shutil.which("skopeo") is not None:  # which unpacks a layer to compress it in another way
        options = ("--insecure-policy", "-q", "--src-tls-verify=false", "--dest-decompress")
        call("skopeo", "copy", *options, f"docker://{name}:2", f"dir:{tmp_path}/plain")
        layers = json.loads((tmp_path / "plain" / "manifest.json").read_text())["layers"]
        assert any(data in (tmp_path / "plain" / one["digest"].partition(":")[2]).read_bytes() for one in layers)


# --- who one is -----------------------------------------------------------------------------------------------------


class Away:
    """A registry with TLS and a password at registry.example.com, as one person sees it."""

    def __init__(self, carboy: Carboy, authority: Authority, proxy: str, host: str = "registry.example.com") -> None:
        self.authority = authority
        self.host = host
        self.stranger = carboy.using(carboy.home, HTTPS_PROXY=proxy, NO_PROXY="", no_proxy="", https_proxy="")
        self.carboy = self.stranger.using(carboy.home, SSL_CERT_FILE=str(authority.ca), SSL_CERT_DIR="")
        self.config = carboy.person.home / ".docker" / "config.json"

    def login(self, password: str = PASSWORD, *, expect: int = 0) -> subprocess.CompletedProcess[str]:
        words = ("login", "-u", USER, "--password-stdin", self.host)
        return self.carboy(*words, input=f"{password}\n", expect=expect)


@pytest.fixture(scope="module")
def locked(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the proxy behind which a registry with TLS and a password is."""
    folder = tmp_path_factory.mktemp("locked")
    (folder / "htpasswd").write_text(f"{USER}:{HTPASSWD}\n")
    auth = f"auth:\n  htpasswd:\n    realm: ours, and yours\n    path: {folder}/htpasswd\n"
    with open_distribution(folder, auth=auth, tls=authority) as found, open_web() as web:
        web.places["registry.example.com:443"] = found.port
        yield web.address


@pytest.fixture
def away(mine: Carboy, authority: Authority, locked: str) -> Away:
    return Away(mine, authority, locked)


def test_a_login_and_what_it_opens(away: Away) -> None:
    carboy, name = away.carboy, f"{away.host}/team/{uuid.uuid4().hex[:8]}:1"
    carboy("tag", SMALL, name)
    refused = carboy("push", name, expect=1).stderr
    assert f"hint: check the name; `carboy login {away.host}`" in refused
    assert "not with this password" in away.login("wrong", expect=1).stderr
    assert not away.config.exists()
    done = away.login()
    assert done.stdout == "Login Succeeded\n"
    assert f"warning: the password is in {away.config}, unencrypted" in done.stderr
    carboy("push", name)
    assert carboy("logout", away.host).stdout == f"Removed the login for {away.host}\n"
    assert carboy("logout", away.host).stdout == f"Not logged in to {away.host}\n"
    assert "refuses access" in carboy("pull", name, expect=1).stderr


@pytest.mark.long
def test_certificates(away: Away) -> None:
    """Trusted by SSL_CERT_FILE, by ``ca`` of config.toml, or not at all."""
    stranger = away.stranger
    words = ("login", "-u", USER, "--password-stdin", away.host)
    said = stranger(*words, input=PASSWORD, expect=1).stderr
    assert f"the registry {away.host} cannot be reached" in said
    assert "certificate verify failed" in said
    assert "SSL_CERT_FILE" in said
    config = stranger.home / "config.toml"
    config.write_text(f'[registries."{away.host}"]\nca = "{away.authority.ca}"\n')
    assert stranger(*words, input=PASSWORD).stdout == "Login Succeeded\n"
    config.write_text(f'[registries."{away.host}"]\nca = "/absent.pem"\n')
    assert "there is no file /absent.pem" in stranger(*words, input=PASSWORD, expect=125).stderr
    config.write_text(f'[registries."{away.host}"]\ninsecure = true\n')
    assert stranger(*words, input=PASSWORD).stdout == "Login Succeeded\n"


@pytest.mark.long
def test_wrong_uses_of_login(mine: Carboy) -> None:
    for words, said in (
        (("-u", "a", "not a host!"), "not the name of a registry"),
        (("--password-stdin", "r.example.com"), "needs the user"),
        (("-u", "a", "-p", "b", "--password-stdin", "r.example.com"), "mutually exclusive"),
        (("-u", "a", "r.example.com"), "use --password-stdin"),
        (("r.example.com",), "use --username NAME"),
    ):
        assert said in mine("login", *words, expect=2).stderr


@pytest.mark.parametrize("keeps", ["a file", pytest.param("a helper", marks=pytest.mark.long)])
def test_no_password_is_seen_anywhere(away: Away, tmp_path: Path, keeps: str) -> None:
    """Not in what is printed, not in events, nor in a process's words: in the file of logins alone, and there only encoded."""
    carboy, name = away.carboy, f"{away.host}/seen/{uuid.uuid4().hex[:8]}:1"
    log = tmp_path / "words"
    helper = tmp_path / "bin" / "docker-credential-fake"
    helper.parent.mkdir()
    kept = tmp_path / "kept"
    helper.write_text(
        f'#!/bin/sh\necho "$@" >> {log}\ntr "\\0" " " < /proc/$PPID/cmdline >> {log}\n'
        f"case $1 in store) cat > {kept};; get) cat {kept};; esac\n"
    )
    helper.chmod(0o755)
    if keeps == "a helper":
        away.config.parent.mkdir()
        away.config.write_text('{"credsStore": "fake"}')
    runner = carboy.using(carboy.home, PATH=f"{helper.parent}:{os.environ['PATH']}")
    words = ("login", "-u", USER, "--password-stdin", away.host)
    printed = [
        runner(*words, input=f"{PASSWORD}-wrong", expect=1),
        runner(*words, input=PASSWORD),
        runner("tag", SMALL, name),
        runner("push", name),
        runner("pull", f"{name}-absent", expect=1),
        runner("events", "--since", "1h", "--until", "0s", expect=None),
    ]
    text = "".join(done.stdout + done.stderr for done in printed)
    if keeps == "a helper":
        text += log.read_text()
        assert json.loads(kept.read_text())["Secret"] == PASSWORD
    assert (base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode() in away.config.read_text()) == (keeps == "a file")
    assert "canary" not in text
    assert base64.b64encode(PASSWORD.encode()).decode()[:8] not in text
    for path in carboy.home.rglob("*"):
        if path.is_file() and not path.is_symlink():
            assert b"canary" not in path.read_bytes(), path


@pytest.mark.long
def test_the_logins_of_other_tools(away: Away, tmp_path: Path) -> None:
    program = shutil.which("skopeo")
    if program is None:
        pytest.skip("skopeo is not installed (Debian: skopeo)")
    environ = away.carboy.environ()
    words = [program, "login", "--authfile", f"{tmp_path}/auth.json", "-u", USER, "--password-stdin", away.host]
    subprocess.run(words, input=PASSWORD, text=True, check=True, capture_output=True, env=environ)
    name = f"{away.host}/skopeo/{uuid.uuid4().hex[:8]}:1"
    runner = away.carboy.using(away.carboy.home, REGISTRY_AUTH_FILE=f"{tmp_path}/auth.json")
    runner("tag", SMALL, name)
    runner("push", name)
    # And skopeo's are carboy's.
    runner("logout", away.host)
    runner("login", "-u", USER, "--password-stdin", away.host, input=PASSWORD)
    words = [program, "inspect", "--authfile", f"{tmp_path}/auth.json", f"docker://{name}"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["Architecture"] == HERE


@pytest.mark.long
def test_tokens(mine: Carboy, authority: Authority, tmp_path: Path) -> None:
    """docker-registry with a token server: everybody pulls what is public, and only who is known pushes."""
    tokens = TokenAuthority(tmp_path)
    tokens.make()
    with ExitStack() as stack:
        server = stack.enter_context(serve(tokens.answer, tls=authority.context()))
        config = tokens.config("https://auth.example.org/token")
        found = stack.enter_context(open_distribution(tmp_path / "registry", auth=config, tls=authority))
        web = stack.enter_context(open_web())
        web.places |= {"tokens.example.com:443": found.port, "auth.example.org:443": server.port}
        away = Away(mine, authority, web.address, "tokens.example.com")
        public, private = f"{away.host}/public/x:1", f"{away.host}/private/x:1"
        away.carboy("tag", SMALL, public)
        away.carboy("tag", SMALL, private)
        assert "refuses access" in away.carboy("push", public, expect=1).stderr
        assert "does not know the user" in away.login("wrong", expect=1).stderr
        away.login()
        assert set(outcomes(away.carboy("push", public).stdout)) == {"Pushed"}
        # The token for a mount is for both repositories.
        assert set(outcomes(away.carboy("push", private).stdout)) == {"Mounted from public/x"}
        assert any(len(seen.query.get("scope", [])) >= 2 for seen in tokens.asked)
        other = away.carboy.using(mine.home.with_name("other"))
        other("pull", private)
        other("logout", away.host)
        other("pull", public)
        assert other("run", "--rm", public, "echo", "here").stdout == "here\n"
        assert "refuses access" in other("pull", private, expect=1).stderr


# --- mirrors --------------------------------------------------------------------------------------------------------


@pytest.mark.long
def test_mirrors(mine: Carboy, plain: Distribution) -> None:
    """What is at a mirror comes from there; one that is down, or has nothing, is passed over."""
    path = f"library/{uuid.uuid4().hex[:8]}"
    mine("tag", SMALL, f"{plain.host}/mirrored/{path}:1")
    mine("push", f"{plain.host}/mirrored/{path}:1")
    with serve(lambda _: None) as gone:
        dead = gone.host
    other = mine.using(mine.home.with_name("other"))
    other("images")
    config = other.home / "config.toml"
    config.write_text(
        f'[registries."registry.example.com"]\nmirrors = ["{dead}", "{plain.host}", "{plain.host}/mirrored"]\n'
    )
    other("pull", f"registry.example.com/{path}:1")
    assert other("run", "--rm", f"registry.example.com/{path}:1", "echo", "here").stdout == "here\n"
    config.write_text(f'[registries."{plain.host}"]\nmirrors = ["http://{dead}"]\n')
    other("pull", f"{plain.host}/mirrored/{path}:1")
    config.write_text('[registries."x.example.com"]\nmirror = []\n')
    assert "has no 'mirror'" in other("pull", "x.example.com/a", expect=125).stderr


# --- other tools ----------------------------------------------------------------------------------------------------


def call(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize("kind", ["v2s2", "oci"])
def test_what_skopeo_pushes(
    tier_carboy: Carboy, small_carboy: Carboy, place: Path, plain: Distribution, kind: str
) -> None:
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed (Debian: skopeo)")
    name = f"{plain.host}/skopeo/{uuid.uuid4().hex[:8]}:1"
    small_carboy("tag", SMALL, name)
    small_carboy("push", name)
    copy = name.replace("skopeo/", f"skopeo-{kind}/")
    options = ("--insecure-policy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false", "--format", kind)
    call("skopeo", "copy", *options, f"docker://{name}", f"docker://{copy}")
    raw = json.loads(call("skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{copy}"))
    assert ("docker" in raw.get("mediaType", "")) == (kind == "v2s2")
    other = tier_carboy.using(place / "home")
    other("pull", copy)
    assert other("run", "--rm", copy, "echo", "here").stdout == "here\n"
    small_carboy("rmi", name)


@pytest.mark.long
def test_what_podman_pulls_and_pushes(mine: Carboy, plain: Distribution) -> None:
    name = f"{plain.host}/podman/{uuid.uuid4().hex[:8]}"
    with open_podman() as podman:
        for kind in ("gzip", "zstd"):
            mine("tag", SMALL, f"{name}:{kind}")
            mine("push", "--compression", kind, f"{name}:{kind}")
            podman("pull", "--tls-verify=false", f"{name}:{kind}")
            assert podman.run(f"{name}:{kind}", "echo", kind) == f"{kind}\n"
        podman("push", "--tls-verify=false", f"{name}:gzip", f"{name}:theirs")
    other = mine.using(mine.home.with_name("other"))
    other("pull", f"{name}:theirs")
    assert other("run", "--rm", f"{name}:theirs", "echo", "here").stdout == "here\n"


# --- bad luck -------------------------------------------------------------------------------------------------------


class Slow:
    """A registry that stops in the middle of the second blob, until it may go on."""

    def __init__(self) -> None:
        self.registry = Registry()
        self.reached, self.go_on = threading.Event(), threading.Event()
        self.registry.change = self.wait

    def wait(self, kind: str, _seen: Seen, answer: Answer) -> Answer | None:
        if kind in {"GET blob", "PATCH upload"} and self.registry.calls[kind] > 1 and not self.go_on.is_set():
            self.reached.set()
            self.go_on.wait(60)
            return None
        return answer


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=lambda number: number.name)
def test_a_command_that_is_stopped_leaves_no_name(mine: Carboy, leftovers: Leftovers, number: signal.Signals) -> None:
    slow = Slow()
    with serve(slow.registry.answer) as server:
        name = f"{server.host}/a/b:1"
        mine("tag", SMALL, name)
        stop(mine, slow, ["push", name], number)
        assert slow.registry.manifests == {}
        mine("push", name)
        other = mine.using(mine.home.with_name("other"))
        slow.go_on.clear()
        slow.registry.calls.clear()
        stop(other, slow, ["pull", name], number)
        assert "a/b" not in other("images").stdout
        other("system", "check")
        other("pull", name)
        assert other("run", "--rm", name, "echo", "here").stdout == "here\n"
        for folder in ("ingest", "trash"):
            assert list((other.home / folder).iterdir()) == []
    assert leftovers.find() == []


def stop(carboy: Carboy, slow: Slow, words: list[str], number: signal.Signals) -> None:
    """Start a command, strike it in the middle of its second blob, and let the registry go on."""
    slow.reached.clear()
    with carboy.start(*words) as process:
        assert slow.reached.wait(30)
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=20)
    assert process.returncode == (130 if number == signal.SIGINT else -number), said
    assert "Traceback" not in said
    slow.go_on.set()
