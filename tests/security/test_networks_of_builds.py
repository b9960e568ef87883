"""What a RUN reaches by default: not the machine's own services, not another build's steps; and what stays: nothing."""

from __future__ import annotations

import os
import signal
import socketserver
import threading
import time
from typing import TYPE_CHECKING

import pytest

from carboy.network import nftables, private
from carboy.network.nftables import open_netfilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from dockerfiles import Builder

pytestmark = [pytest.mark.root, pytest.mark.userns, pytest.mark.slow]
root_only = pytest.mark.parametrize("tier_carboy", ["root"], indirect=True)
DEVICES = "echo devices: $(tail -n +3 /proc/net/dev | cut -d: -f1)"
GATEWAY = "$(ip route | grep default | cut -d' ' -f3)"
# Nothing that leads the step to this machine: then it is on a network of its own.
NO_SETTINGS = {"PIP_CONFIG_FILE": "/dev/null", "CARBOY_MIRROR": "http://192.0.2.1/debian"}


@pytest.fixture
def port() -> Iterator[int]:
    """Return a port of 127.0.0.1 at which somebody accepts connections."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), socketserver.BaseRequestHandler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def private_means() -> None:
    """Skip where the machine has no private network."""
    missing = private.explain_private_means("root")
    if missing:
        pytest.skip(f"no private network here: {'; '.join(missing)}")


def knock(address: str, port: int) -> str:
    """Return a command that prints "reached" or "closed", neither of which is a word of the step's title."""
    return f"nc -w 1 {address} {port} </dev/null && echo rea''ched || echo clo''sed"


def find_devices() -> set[str]:
    """Return devices of ours, and "table" when the packet filter has ours and no bridge is there that it could be for."""
    found = {name for name in os.listdir("/sys/class/net") if name.startswith(("carboy", "cbv"))}
    with open_netfilter() as filter_:
        return found | ({"table"} if not found and nftables.is_installed(filter_) else set())


def wait_until_gone(before: set[str]) -> set[str]:
    """Return what is there that was not before, after some patience with what is on its way out."""
    end = time.monotonic() + 5
    while (
        found := {name for name in find_devices() - before if name.startswith(("carboy0", "cbv", "table"))}
    ) and time.monotonic() < end:
        time.sleep(0.05)  # another test's container may be on the same bridge
    return found


@root_only
def test_what_is_asked_for(builder: Builder, port: int) -> None:
    text = f"FROM small:test\nRUN %s {DEVICES}; {knock('127.0.0.1', port)}\n"
    none = builder.build(text % "--network=none", "--no-cache").log
    assert "devices: lo\n" in none
    assert "closed" in none
    assert "devices: lo\n" in builder.build(text % "", "--no-cache", "--network", "none").log
    # Whoever builds may say so for all steps; a step by itself has the host's network only with the right.
    assert "reached" in builder.build(text % "", "--no-cache", "--network", "host").log
    assert "reached" in builder.build(text % "--network=host", "--no-cache", "--network", "host").log
    assert "network.host" in builder.fail(text % "--network=host", "--no-cache")
    allowed = builder.build(text % "--network=host", "--no-cache", "--allow", "network.host").log
    assert "reached" in allowed
    # One that asks for the default gets what the build was told.
    assert "devices: lo\n" in builder.build(text % "--network=default", "--no-cache", "--network", "none").log
    assert "bridge" in builder.fail(text % "", "--network", "bridge", status=2)


@root_only
@pytest.mark.usefixtures("private_means")
def test_a_step_reaches_nothing_of_the_machine(builder: Builder, port: int) -> None:
    before = find_devices()
    words = f"http://127.0.0.1:{port}/simple"
    text = (
        "FROM small:test\n"
        # Neither words nor settings of the Dockerfile lead to the host's network.
        f"ARG PIP_INDEX_URL={words}\nENV HTTP_PROXY={words} UV_INDEX={words}\n"
        f"RUN {DEVICES}; echo {words}; {knock('127.0.0.1', port)}; {knock(GATEWAY, port)}\n"
    )
    log = builder.build(text, "--no-cache", variables=NO_SETTINGS).log
    assert "devices: lo eth0\n" in log
    assert "reached" not in log
    assert log.count("closed\n") == 2
    # The host's own settings do.
    log = builder.build(text, "--no-cache", variables={**NO_SETTINGS, "PIP_INDEX_URL": words}).log
    assert "on the host's network: 127.0.0.1 is this machine" in log
    assert wait_until_gone(before) == set()


@root_only
@pytest.mark.usefixtures("private_means")
def test_steps_of_two_builds_do_not_see_each_other(builder: Builder) -> None:
    serve = (
        "FROM small:test\nRUN ip -4 addr show eth0 | grep -o 'inet [0-9.]*' | sed 's/inet /at /';"
        " timeout 20 nc -l -p 8000 >/dev/null; true\n"
    )
    runner = builder.carboy.using(builder.carboy.home, **NO_SETTINGS)
    process = runner.start(*builder.arguments(serve, "--no-cache"))
    try:
        assert process.stderr is not None
        address = next(line.split()[-1] for line in process.stderr if " at " in line and "RUN" not in line)
        text = f"FROM small:test\nRUN {DEVICES}; {knock(address, 8000)}\n"
        log = builder.build(text, "--no-cache", variables=NO_SETTINGS).log
        assert "devices: lo eth0\n" in log
        assert "closed\n" in log
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)


@root_only
@pytest.mark.usefixtures("private_means")
def test_nothing_of_a_network_stays(builder: Builder) -> None:
    before = find_devices()
    runner = builder.carboy.using(builder.carboy.home, **NO_SETTINGS)
    failing = runner(*builder.arguments(f"FROM small:test\nRUN {DEVICES}; exit 3\n", "--no-cache"), expect=1)
    assert "devices: lo eth0\n" in failing.stderr
    assert wait_until_gone(before) == set()
    process = runner.start(*builder.arguments("FROM small:test\nRUN echo begun; sleep 60\n", "--no-cache"))
    assert process.stderr is not None
    assert any(line.rstrip().endswith(" begun") for line in process.stderr)
    process.kill()
    process.communicate(timeout=20)
    # What a killed build leaves goes with the next step of anybody's.
    builder.build(f"FROM small:test\nRUN {DEVICES}\n", "--no-cache", variables=NO_SETTINGS)
    assert wait_until_gone(before) == set()


@pytest.mark.parametrize("tier_carboy", ["subuid"], indirect=True)
def test_a_users_steps_share_the_hosts_network_and_it_is_said(builder: Builder, port: int) -> None:
    text = f"FROM small:test\nRUN {knock('127.0.0.1', port)}\nRUN --network=none {DEVICES}\n"
    log = builder.build(text, "--no-cache").log
    assert "reached\n" in log
    assert "devices: lo\n" in log
    builder.write(Dockerfile=text)
    assert "RUN is on the host's network: a user's steps" in builder.carboy("plan", str(builder.folder)).stderr
    assert "network of builds" in builder.carboy("doctor", expect=None).stdout
