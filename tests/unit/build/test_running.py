"""What a RUN is given: settings of the host, places for mounts, caches, agents; and what it prints."""

from __future__ import annotations

import os
import socket
import threading
from typing import TYPE_CHECKING

import pytest

from carboy.base.home import open_home
from carboy.bootstrap.archive import ArchiveConfig
from carboy.bootstrap.deb.make import format_sources
from carboy.bootstrap.recipe import ArchiveSettings, parse_recipe
from carboy.build.graph.ops import CacheMount, Location, Run, Scratch
from carboy.build.graph.options import BuildOptions
from carboy.build.running import networks
from carboy.build.running.agents import AgentProxy
from carboy.build.running.apt import read_apt_settings
from carboy.build.running.caches import CacheFolders, list_caches, remove_cache
from carboy.build.running.host import BUNDLE, PACKAGES, read_host_settings
from carboy.build.running.mounts import Mounted
from carboy.build.running.networks import StepNetworks
from carboy.build.running.rights import check_rights
from carboy.build.running.step import Output, StepFailedError, _merge_env
from carboy.build.running.stubs import Stubs
from carboy.environments.reach import Reach
from carboy.errors import CarboyError

if TYPE_CHECKING:
    from pathlib import Path

    from carboy.base.home import Home

SOURCES = """Types: deb
URIs: http://mirrors.edge.kernel.org/debian
Suites: bookworm bookworm-updates
Components: main
"""


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return open_home(str(tmp_path / "home"))


def make_image(tmp_path: Path, sources: str = SOURCES) -> list[str]:
    parts = tmp_path / "image" / "etc" / "apt" / "sources.list.d"
    parts.mkdir(parents=True)
    (parts / "debian.sources").write_text(sources)
    (parts / "other.list").write_text("deb http://example.org other main\n")
    return [str(tmp_path / "image")]


def test_apt_asks_the_hosts_mirror(tmp_path: Path) -> None:
    environ = {"CARBOY_MIRROR": "http://mirror.example/debian", "http_proxy": "http://proxy:1"}
    trees = make_image(tmp_path)
    found = read_apt_settings(trees, ("apt-get", "update"), environ, bundle="", single=False)
    files = {file.target: file.content.decode() for file in found.files}
    assert 'Acquire::http::Proxy "http://proxy:1";' in files["/run/carboy/apt.conf"]
    lines = files["/run/carboy/sources.list.d/debian.list"].splitlines()
    assert [line.split()[2:] for line in lines] == [
        ["http://mirror.example/debian", "bookworm", "main"],
        ["http://mirror.example/debian", "bookworm-updates", "main"],
    ]
    assert files["/run/carboy/sources.list.d/other.list"].startswith("deb http://example.org")
    assert dict(found.env) == {"APT_CONFIG": "/run/carboy/apt.conf"}
    assert set(found.addresses) == {"http://mirror.example/debian", "http://proxy:1"}
    # Who works on the sources means them, and with one id apt stays root whatever they are.
    words = ("sh", "-c", "sed -i s/main/contrib/ /etc/apt/sources.list.d/debian.sources && apt-get update")
    assert read_apt_settings(trees, words, environ, bundle="", single=False).files == ()
    (config,) = read_apt_settings(trees, words, environ, bundle="", single=True).files
    assert config.content == b'APT::Sandbox::User "root";\n'


def test_apt_asks_the_mirror_of_the_homes_configuration(tmp_path: Path) -> None:
    """Also in images of Ubuntu, whose security updates are in the same archive."""
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    recipe = parse_recipe("ubuntu:24.04")
    settings = ArchiveSettings(mirror="http://mirror.example/ubuntu", keyrings=("/k.gpg",))
    (folder / "ubuntu.sources").write_bytes(format_sources(recipe, ArchiveConfig(components=("main", "universe"))))
    asked: list[str] = []

    def find(name: str) -> ArchiveSettings:
        asked.append(name)
        return settings

    found = read_apt_settings(
        [str(tmp_path)], ("apt-get",), {"PATH": "/bin"}, bundle="", single=False, find_settings=find
    )
    files = {file.target: file.content.decode() for file in found.files}
    assert files["/run/carboy/sources.list.d/ubuntu.list"].splitlines() == [
        f"deb [signed-by=/usr/share/keyrings/ubuntu-archive-keyring.gpg] {settings.mirror} {suite} main universe"
        for suite in ("noble", "noble-updates", "noble-security")
    ]
    assert asked == ["ubuntu"]


def test_apt_of_other_images_is_left_alone(tmp_path: Path) -> None:
    environ = {"CARBOY_MIRROR": "http://mirror.example/debian"}
    trees = make_image(tmp_path, SOURCES.replace("mirrors.edge.kernel.org", "else.where"))
    assert read_apt_settings(trees, ("apt-get",), environ, bundle="", single=False).files == ()
    assert read_apt_settings([str(tmp_path)], ("apt-get",), environ, bundle="", single=True).files == ()


def test_what_the_host_says_of_downloads(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("x")
    (tmp_path / "wheels").mkdir()
    environ = {
        "SSL_CERT_FILE": str(tmp_path / "ca.pem"),
        "PIP_INDEX_URL": "https://user:pw@index.example/simple",
        "PIP_FIND_LINKS": str(tmp_path / "wheels"),
        "PIP_CONFIG_FILE": os.devnull,
    }
    found = read_host_settings(environ)
    assert dict(found.env)["PIP_INDEX_URL"] == "https://user:pw@index.example/simple"
    assert dict(found.env)["SSL_CERT_FILE"] == BUNDLE
    assert dict(found.env)["PIP_FIND_LINKS"] == dict(found.env)["UV_FIND_LINKS"] == f"{PACKAGES}/0"
    assert set(found.binds) == {
        (str(tmp_path / "ca.pem"), BUNDLE),
        (str(tmp_path / "wheels"), f"{PACKAGES}/0"),
    }
    assert read_host_settings({}).env == ()


def test_whose_variables_count() -> None:
    op = Run(parent=Scratch(), args=("x",), env=("A=step", "B=step"), unkeyed_env=("B=proxy", "C=proxy"))
    mounted = Mounted(env={"A": "secret", "SSH_AUTH_SOCK": "/agent"}, host={"C": "host", "D": "host"})
    assert dict(item.split("=", 1) for item in _merge_env(op, mounted, 77)) == {
        "A": "secret", "B": "step", "C": "proxy", "D": "host", "SSH_AUTH_SOCK": "/agent", "SOURCE_DATE_EPOCH": "77",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "needed"),
    [({"security": "insecure"}, "security.insecure"), ({"network": "host"}, "network.host")],
)
def test_every_right_is_asked_for_at_one_gate(changes: dict[str, str], needed: str) -> None:
    op = Run(parent=Scratch(), args=("x",), **changes)  # type: ignore[arg-type]
    with pytest.raises(CarboyError, match=needed):
        check_rights(op, BuildOptions(network="none"))
    check_rights(op, BuildOptions(network="none", entitlements=frozenset({needed})))


def test_the_network_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, str], str]] = []

    def find(tier: str, env: dict[str, str], addresses: str) -> Reach:
        asked.append((tier, env, addresses))
        return Reach(network="host" if "127.0.0.1" in addresses else "private", reason="because")

    monkeypatch.setattr(networks, "find_network", find)
    step = Run(parent=Scratch(), args=("curl", "http://127.0.0.1:1"), env=("HTTP_PROXY=http://127.0.0.1:2",))
    found = StepNetworks("root", "default")
    assert found.choose(step, {"UV_INDEX": "https://a.example"}, ()) == (
        Reach(network="private", reason="because"),
        True,
    )
    assert found.choose(step, {"UV_INDEX": "https://a.example"}, ())[1] is False
    assert asked == [("root", {"UV_INDEX": "https://a.example"}, "")]  # no word of the step's, and once
    assert found.choose(step, {}, ("http://127.0.0.1/debian",))[0].network == "host"
    for own in ("none", "host"):
        assert found.choose(Run(parent=Scratch(), args=("x",), network=own), {}, ())[0].network == own  # type: ignore[arg-type]
        assert StepNetworks("root", own).choose(step, {}, ())[0].network == own
    assert StepNetworks("subuid", "default").choose(step, {}, ())[0].network == "host"
    assert len(asked) == 2


def test_lines_without_secrets() -> None:
    lines: list[str] = []
    output = Output(lines.append, [b"sesame", b"open sesame now"])
    output.take(b"one\ntw")
    output.take(b"o open sesame now\nprogress 1%\rprogress 2%\nlast sesame")
    output.finish()
    assert lines == ["one", "two ***", "progress 2%", "last ***"]
    # A line without an end is shown in pieces, and no secret is cut by that.
    before = len(lines)
    for piece in (b"x" * 2**14 + b"open ses", b"ame now", b"y" * 2**15, b" ses", b"ame\n"):
        output.take(piece)
    assert "".join(lines[before:]) == "x" * 2**14 + "***" + "y" * 2**15 + " ***"
    assert len(lines) - before > 2
    for _ in range(100):
        output.take(b"more\n")
    assert len(output.lines) == 30


def test_a_failure_says_where() -> None:
    location = Location(file="Dockerfile", first_line=3, last_line=4, text="RUN make \\\n  all")
    op = Run(parent=Scratch(), args=("make",), title="[2/2] RUN make   all", location=location)
    error = StepFailedError(op, 137, ["cc", "killed"])
    assert error.brief == "[2/2] RUN make   all: the command ended with status 137"
    assert error.details == "Dockerfile:3\nRUN make \\\n  all\ncc\nkilled"
    assert "memory" in error.hint


def test_places_of_mounts_are_made_below_what_the_image_has(tmp_path: Path) -> None:
    image, tree, upper = tmp_path / "image", tmp_path / "tree", tmp_path / "upper"
    (image / "usr" / "lib").mkdir(parents=True)
    (image / "lib").symlink_to("usr/lib")
    (image / "there").touch()
    tree.mkdir()
    stubs = Stubs(str(tree), [str(image)])
    stubs.make(["/lib/new/deep", "/usr", "/dev/x"], ["/there", "/file/of"])
    made = {str(path.relative_to(tree)) for path in tree.rglob("*")}
    assert made == {"usr", "usr/lib", "usr/lib/new", "usr/lib/new/deep", "file", "file/of"}
    # What the sandbox had to make after all goes, as long as it is empty; a link in its place leads nowhere.
    (upper / "usr" / "lib" / "new" / "deep").mkdir(parents=True)
    (upper / "file").symlink_to(image)
    (image / "of").touch()
    stubs.remove(str(upper))
    assert not (upper / "usr" / "lib" / "new").exists()
    assert (image / "of").exists()


def test_caches_by_the_hash_of_their_id(home: Home) -> None:
    caches = CacheFolders(home, kind="single")
    mount = CacheMount(target="/c", id="../../../../etc", mode=0o750)
    with caches.open(mount) as held:
        assert held.data.startswith(f"{home.cache}/mounts/single/")
        assert os.stat(held.data).st_mode & 0o7777 == 0o750
        with open(f"{held.data}/kept", "w") as file:
            file.write("x")
        with caches.open(mount) as other:
            assert other.data == held.data
        private = CacheMount(target="/c", id=mount.id, sharing="private")
        with caches.open(private) as another:
            assert another.data != held.data
        waited: list[int] = []

        def give_up() -> None:
            waited.append(1)
            raise CarboyError("enough")

        with pytest.raises(CarboyError, match="enough"):
            caches.open(CacheMount(target="/c", id=mount.id, sharing="locked"), wait=give_up)
        found = {cache.in_use: cache for cache in list_caches(home)}
        assert (found[True].id, found[True].path) == (mount.id, os.path.dirname(held.data))
        assert [remove_cache(home, cache) for cache in found.values()].count(True) == 1
        assert [cache.in_use for cache in list_caches(home)] == [True]
        assert os.listdir(held.data) == ["kept"]
    with caches.open(mount, origin="other") as different:
        assert os.listdir(different.data) == []


def test_a_cache_is_filled_once(home: Home) -> None:
    caches = CacheFolders(home, kind="single")
    filled: list[str] = []

    def fill(folder: str) -> None:
        filled.append(folder)
        with open(f"{folder}/first", "w") as file:
            file.write("x")

    for _ in range(2):
        with caches.open(CacheMount(target="/c", id="c"), fill=fill) as held:
            assert os.listdir(held.data) == ["first"]
    assert len(filled) == 1


def test_an_agent_is_reached_through_a_socket_of_the_steps_own(tmp_path: Path) -> None:
    place = tmp_path / ("long" * 30)
    place.mkdir()
    agent = socket.socket(socket.AF_UNIX)
    folder = os.open(tmp_path, os.O_RDONLY)
    agent.bind(f"/proc/self/fd/{folder}/real")
    agent.listen(1)

    def serve() -> None:
        for _ in range(2):
            peer, _ = agent.accept()
            with peer:
                peer.sendall(peer.recv(100)[::-1])

    thread = threading.Thread(target=serve)
    thread.start()
    with AgentProxy(f"/proc/self/fd/{folder}/real", str(place), mode=0o600, ids=None) as proxy:
        inner = os.open(place, os.O_RDONLY)
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(f"/proc/self/fd/{inner}/agent")
                client.sendall(b"sign")
                assert client.recv(100) == b"ngis"
        os.close(inner)
        assert os.stat(proxy.path).st_mode & 0o777 == 0o600
    thread.join()
    agent.close()
    os.close(folder)
