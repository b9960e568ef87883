"""What people do with a server in a container, from its start to its removal, as one session in each tier."""

from __future__ import annotations

import json
import socket
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

import pytest
from containers import Containers, find_port, on_terminal, wait_for
from small_image import SMALL

if TYPE_CHECKING:
    from conftest import Leftovers

pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

SERVER = "echo hello >/tmp/index.html; exec busybox httpd -f -vv -p 8080 -h /tmp 2>&1"


def fetch(port: int) -> str:
    """Return what the server answers, "" while it does not."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=10) as answer:
            return answer.read().decode()  # type: ignore[no-any-return]
    except (OSError, urllib.error.URLError):
        return ""


@pytest.mark.parametrize("network", ["none", "default"])
def test_a_session_with_a_server(containers: Containers, leftovers: Leftovers, network: str) -> None:
    carboy, name, port = containers.carboy, containers.name("web"), find_port()
    options = ["--network", "none"] if network == "none" else []
    carboy("run", "-d", "-p", f"{port}:8080", "--name", name, *options, SMALL, "sh", "-c", SERVER)
    wait_for(lambda: fetch(port) == "hello\n")
    assert f"127.0.0.1:{port}->8080/tcp" in carboy("ps").stdout
    assert carboy("port", name, "8080").stdout == f"127.0.0.1:{port}\n"

    with on_terminal(carboy, "exec", "-it", name, "sh") as terminal:
        terminal.type("echo changed >/tmp/index.html; test -t 0 && echo on a $((1+1))nd terminal\n")
        terminal.read_until("on a 2nd terminal")
        terminal.type("exit 7\n")
        assert terminal.wait() == 7
    assert fetch(port) == "changed\n"

    follower = carboy.start("logs", "-f", name)
    containers.wait_logged(name, "response:200")
    (usage,) = map(json.loads, carboy("stats", "--no-stream", "--json", name).stdout.splitlines())
    assert usage["pids"] >= 1
    assert usage["memory_bytes"] > 0 or carboy.person.tier != "root"

    carboy("stop", "-t", "5", name)
    assert "response:200" in "".join(follower.communicate(timeout=20)), "what it logged before and meanwhile"
    assert follower.returncode == 0
    assert fetch(port) == ""
    assert containers.status(name).startswith("Exited")
    carboy("rm", name)
    assert name not in carboy("ps", "-a").stdout
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are over do not count
        listener.bind(("127.0.0.1", port))
    assert leftovers.find() == []
