"""Networks that somebody makes, as a person uses them: who finds whom, what is refused, and what is left afterwards."""

from __future__ import annotations

import json
import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from containers import Containers, wait_for
from small_image import SMALL

from carboy.network import nftables
from carboy.network.bridges import name_device
from carboy.network.nftables import open_netfilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Carboy, Leftovers

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes bridges: needs root"),
]
SERVE = "while :; do echo hello | busybox nc -l -p 8000; done"


class Site(Containers):
    """Networks and containers of one test."""

    def network(self, text: str, *options: str) -> str:
        """Make a network and return its name."""
        name = self.name(text)
        assert self.carboy("network", "create", *options, name).stdout == f"{name}\n"
        return name

    def describe(self, network: str) -> dict[str, Any]:
        """Return what ``network inspect`` says."""
        found: dict[str, Any] = json.loads(self.carboy("network", "inspect", network).stdout)[0]
        return found

    def address(self, name: str, network: str) -> str:
        """Return the address that a container has on a network."""
        return str(self.inspect(name)["NetworkSettings"]["Networks"][network]["IPAddress"])

    def look(self, who: str, name: str) -> str:
        """Return the address under which a container finds a name, "" when it does not."""
        done = self.carboy("exec", who, "busybox", "nslookup", "-type=a", name, expect=None)
        found = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("Address")][1:]
        return found[0] if found else ""

    def reaches(self, who: str, address: str) -> bool:
        """Return whether a container is answered at port 8000 of an address."""
        done = self.carboy("exec", who, "busybox", "nc", "-w", "1", address, "8000", expect=None)
        return done.stdout == "hello\n"

    def bridge(self, network: str) -> str:
        """Return the name of a network's bridge."""
        record = json.loads((self.carboy.home / "networks" / f"{network}.json").read_text())
        return str(record["bridge"])


@pytest.fixture
def site(small_root_carboy: Carboy) -> Iterator[Site]:
    """Return a site whose containers and networks go with the test."""
    made = Site(small_root_carboy)
    yield made
    made.remove_all()
    made.carboy("network", "prune")


def find_left(site: Site, *names: str) -> list[str]:
    """Return devices, rules and files that belong to bridges of these names, or to the home."""
    found = [name for name in os.listdir("/sys/class/net") if name in names]
    with open_netfilter() as filter_:
        rules = b"".join(filter_.ask(10 << 8 | 7, b"\1\0\0\0", dump=True))
        found += [f"rule of {name}" for name in names if name.encode() in rules]
        if nftables.is_installed(filter_) and not any(n.startswith("carboy") for n in os.listdir("/sys/class/net")):
            found.append("the table of the packet filter")
    folder = site.carboy.home / "networks"
    return found + [str(path) for path in folder.rglob("*") if not path.name.startswith(".")]


def test_two_find_each_other_by_name_and_a_third_on_another_network_cannot(site: Site, leftovers: Leftovers) -> None:
    front, back = site.network("front"), site.network("back", "--internal", "--subnet", "198.18.71.0/24")
    web = site.sh("web", SERVE, "--network", front)
    db = site.sh("db", SERVE, "--network", front, "--network-alias", "postgres", "--network-alias", "store")
    spy = site.run("spy", "sleep", "1000", options=("--network", f"name={back},ip=198.18.71.9"))
    db_ip = site.address(db, front)
    assert site.look(web, db) == site.look(web, "postgres") == site.look(web, f"store.{front}") == db_ip
    assert site.look(db, web) == site.address(web, front)
    assert site.reaches(web, db_ip)
    assert site.address(spy, back) == "198.18.71.9"
    assert site.look(spy, db) == site.look(spy, "postgres") == ""
    assert not site.reaches(spy, db_ip)
    described = site.describe(front)
    assert {member["Name"] for member in described["Containers"].values()} == {web, db}
    assert f"{db_ip}/24" in {member["IPv4Address"] for member in described["Containers"].values()}
    # It comes back with another address, and so does its name.
    site.carboy("stop", "-t0", db)
    taker = site.run("taker", "sleep", "1000", options=("--network", front, "--ip", db_ip))
    site.carboy("start", db)
    assert site.look(web, "postgres") == site.address(db, front) != db_ip
    assert site.address(taker, front) == db_ip
    # A network on which somebody is stays; then nothing of it does.
    used = site.carboy("network", "rm", front, expect=1)
    assert f"the network {front} is in use" in used.stderr
    assert all(name in used.stderr for name in (web, db, taker))
    devices = [site.bridge(front), site.bridge(back)]
    devices += [name_device(site.inspect(name)["Id"], devices[0]) for name in (web, db, taker)]
    site.remove_all()
    assert site.carboy("network", "rm", front, back).stdout == f"{front}\n{back}\n"
    wait_for(lambda: find_left(site, *devices) == [])
    assert leftovers.find() == []


def test_a_running_container_is_connected_and_disconnected(site: Site) -> None:
    carboy = site.carboy
    front, vault = site.network("front"), site.network("vault", "--internal", "--label", "kind=closed")
    db = site.sh("db", SERVE, "--network", front)
    web = site.sh("web", SERVE, "--network", "private")
    carboy("network", "connect", "--alias", "www", front, web)
    assert site.look(web, db) == site.address(db, front)
    assert site.look(db, "www") == site.look(db, web) == site.address(web, front)
    assert site.reaches(db, site.look(db, "www"))
    carboy("network", "connect", vault, web)
    networks = site.inspect(web)["NetworkSettings"]["Networks"]
    assert list(networks) == ["private", front, vault]
    assert all(place["IPAddress"] for place in networks.values())
    routes = carboy("exec", web, "cat", "/proc/net/route").stdout
    assert "eth0\t00000000" in routes
    # The way out moves with the network that it led through.
    carboy("network", "disconnect", "private", web)
    assert "eth1\t00000000" in carboy("exec", web, "cat", "/proc/net/route").stdout
    assert "eth0" not in carboy("exec", web, "cat", "/proc/net/dev").stdout
    carboy("network", "disconnect", front, web)
    assert site.look(db, "www") == ""
    assert (
        "\t00000000\t" not in carboy("exec", web, "cat", "/proc/net/route").stdout.partition("\n")[2].split("eth2")[0]
    )
    assert carboy("ps", "-q", "--filter", f"network={front}", "--filter", f"name={web}").stdout == ""
    # What was changed while it ran holds for its next start.
    carboy("network", "connect", front, web)
    carboy("restart", "-t0", web)
    assert list(site.inspect(web)["NetworkSettings"]["Networks"]) == [vault, front]
    assert site.look(web, db) == site.address(db, front)
    carboy("network", "disconnect", vault, web)
    carboy("network", "disconnect", front, web)
    assert list(site.inspect(web)["NetworkSettings"]["Networks"]) == ["none"]


def test_a_container_that_the_policy_starts_again_is_on_the_networks_that_it_was_put_on(site: Site) -> None:
    front = site.network("front")
    db = site.sh("db", SERVE, "--network", front)
    web = site.run("web", "sleep", "1000", options=("--network", "private", "--restart", "always"))
    site.carboy("network", "connect", front, web)
    pid = site.inspect(web)["State"]["Pid"]
    os.kill(pid, 9)
    wait_for(lambda: site.inspect(web)["State"]["Pid"] not in {0, pid} and site.state(web) == "running")
    assert site.look(web, db) == site.address(db, front)
    assert site.look(db, web) == site.address(web, front)


def test_a_stopped_container_is_connected_for_its_next_start(site: Site) -> None:
    front = site.network("front", "--subnet", "198.18.72.0/24")
    web = site.name("web")
    site.carboy("create", "--name", web, "--network", "none", SMALL, "sleep", "1000")
    site.carboy("network", "connect", "--ip", "198.18.72.7", front, web)
    site.carboy("start", web)
    assert site.address(web, front) == "198.18.72.7"
    again = site.carboy("network", "connect", front, web, expect=125)
    assert f"the container {web} is on the network {front} already" in again.stderr
    none = site.run("none", "sleep", "1000", options=("--network", "none"))
    assert "stop it, connect it" in site.carboy("network", "connect", front, none, expect=125).stderr
    assert list(site.inspect(none)["NetworkSettings"]["Networks"]) == ["none"]
    host = site.run("host", "sleep", "1000", options=("--network", "host"))
    assert "beside host" in site.carboy("network", "connect", front, host, expect=125).stderr


def test_private_is_the_default_of_root_and_goes_with_the_container(site: Site) -> None:
    web = site.run("web", "sleep", "1000")
    described = site.inspect(web)
    assert described["HostConfig"]["NetworkMode"] == "private"
    address = described["NetworkSettings"]["Networks"]["private"]["IPAddress"]
    assert "eth0\t00000000" in site.carboy("exec", web, "cat", "/proc/net/route").stdout
    assert f"{address}/16" in json.dumps(site.describe("bridge")["Containers"])
    assert "eth0" not in site.carboy("run", "--rm", "--network", "none", SMALL, "cat", "/proc/net/dev").stdout
    chosen = site.carboy.using(site.carboy.home, CARBOY_NETWORK="none")
    assert "eth0" not in chosen("run", "--rm", SMALL, "cat", "/proc/net/dev").stdout
    device = name_device(described["Id"], "carboy0")
    assert device in os.listdir("/sys/class/net")
    os.kill(described["State"]["Pid"], 9)
    wait_for(lambda: device not in os.listdir("/sys/class/net"))


def test_what_is_refused_says_why_and_what_to_do(site: Site) -> None:
    carboy = site.carboy
    front = site.network("front", "--subnet", "198.18.73.0/24")
    for words, told in (
        (("network", "create", front), f"there is a network {front} already"),
        (("network", "create", "--subnet", "198.18.73.0/25", "other"), "198.18.73.0/24 overlaps with it"),
        (("network", "create", "--subnet", "10.80.0.0/16", "other"), "in use"),
        (("network", "create", "--subnet", "198.18.74.1/24", "other"), "name the subnet: 198.18.74.0/24"),
        (("network", "create", "-d", "macvlan", "other"), "no network driver macvlan"),
        (("network", "create", "--subnet", "198.18.74.0/24", "--gateway", "198.18.74.9", "other"), "it is 198.18.74.1"),
        (("network", "create", "bridge"), "taken by carboy itself"),
        (("run", "--rm", "--network", front[:-1], SMALL, "true"), f"did you mean {front}?"),
        (
            ("run", "--rm", "--network", front, "--ip", "198.18.74.2", SMALL, "true"),
            "from 198.18.73.2 to 198.18.73.254",
        ),
        (("run", "--rm", "--network", front, "--network", "host", SMALL, "true"), "cannot be on host and on"),
        (("run", "--rm", "--network", f"container:{front}", SMALL, "true"), "put both on a network"),
        (("network", "connect", front, "nobody"), "there is no container nobody"),
    ):
        assert told in carboy(*words, expect=None).stderr, words
    missing = carboy("network", "rm", f"{front}x", expect=1)
    assert f"did you mean {front}?" in missing.stderr
    carboy("network", "rm", "-f", f"{front}x")
    assert "built in" in carboy("network", "rm", "none", expect=1).stderr


def test_lists_and_the_end_of_what_nobody_names(site: Site) -> None:
    carboy = site.carboy
    front, back = site.network("front", "--label", "stage=test"), site.network("back", "--ipv6")
    carboy("create", "--name", site.name("kept"), "--network", front, SMALL, "true")
    names = carboy("network", "ls", "--format", "{{.Name}}").stdout.split()
    assert names == ["none", "host", "private", *sorted((front, back))]
    assert carboy("network", "ls", "--filter", "label=stage", "--format", "{{.Name}}").stdout == f"{front}\n"
    assert carboy("network", "ls", "--filter", "type=builtin", "-q").stdout.count("\n") == 3
    (short,) = carboy("network", "ls", "-q", "--filter", f"name={front}").stdout.split()
    assert carboy("network", "inspect", "-f", "{{.Name}} {{.Internal}}", short).stdout.strip() == f"{front} false"
    rows = {row["Name"]: row for row in json.loads(carboy("network", "ls", "--json").stdout)}
    assert rows[back]["EnableIPv6"]
    assert rows[front]["Labels"] == {"stage": "test"}
    assert carboy("network", "prune", "--filter", "label=none").stdout == ""
    assert carboy("network", "prune").stdout == f"{back}\n"
    events = carboy("events", "--since", "10m", "--until", "now", "--filter", "type=network", "--json").stdout
    assert [json.loads(line)["action"] for line in events.splitlines()] == ["create", "create", "destroy"]


def test_users_are_told_what_works_without_root(tier_users: dict[str, Any], public_program: tuple[str, ...]) -> None:
    person = tier_users["single"]
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(person.home), "CARBOY_HOME": str(person.home / "networks-test")}
    done = subprocess.run(
        [*public_program, "network", "create", "front"], user=person.uid, group=person.gid, extra_groups=[], env=environ,
        capture_output=True, text=True, check=False, cwd=person.home,
    )  # fmt: skip
    assert done.returncode == 125
    assert "need root" in done.stderr
    assert "--publish" in done.stderr


PRIVATE_OF_A_USER = """
set -e
cd "$HOME"
carboy run --rm small:test cat /proc/net/route
carboy run -d --name tapped small:test sleep 1000 >/dev/null
count() { ps -u "$(id -u)" -o args= | grep -E -c '^/usr/bin/(pasta|slirp4netns) ' || true; }
count
carboy restart -t0 tapped >/dev/null
count
pid=$(carboy inspect -f '{{.State.Pid}}' tapped)
for _ in 1 2 3; do
    pid=$(awk '{print $4}' "/proc/$pid/stat")
    case "$(tr '\\0' ' ' < "/proc/$pid/cmdline")" in carboy-keep*) break ;; esac
done
kill -9 "$pid"
for _ in $(seq 50); do [ "$(count)" = 0 ] && break; sleep 0.1; done
count
carboy rm -f tapped >/dev/null
"""


@pytest.mark.long
@pytest.mark.parametrize("means", ["pasta", "slirp4netns"])
def test_private_of_a_user_is_the_default_and_its_program_never_outlives_it(
    small_carboy: Carboy, tmp_path: Path, means: str
) -> None:
    if small_carboy.person.tier == "root":
        pytest.skip("root has a bridge")
    if not Path("/usr/bin", means).exists():
        pytest.skip(f"{means} is not installed (Debian: passt, slirp4netns)")
    person = small_carboy.person
    tun, hidden = tmp_path / "tun", "slirp4netns" if means == "pasta" else "pasta"
    os.mknod(tun, 0o666 | stat.S_IFCHR, os.makedev(10, 200))
    tun.chmod(0o666)
    hide = f"mount --bind /dev/null /usr/bin/{hidden}; " if Path("/usr/bin", hidden).exists() else ""
    become = f"setpriv --reuid {person.uid} --regid {person.gid} --clear-groups"
    script = f'mount --bind {tun} /dev/net/tun; {hide}exec {become} sh -c "$0"'
    environ = {
        **small_carboy.environ(),
        "PATH": f"{Path(small_carboy.program[0]).parent}:/usr/bin:/bin:/usr/sbin:/sbin",
    }
    environ.pop("CARBOY_NETWORK", None)
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, PRIVATE_OF_A_USER], env=environ, capture_output=True, text=True, check=False,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *routes, started, again, killed = done.stdout.splitlines()
    assert any(line.startswith("eth0\t00000000") for line in routes)
    assert (started, again, killed) == ("1", "1", "0")
