from pathlib import Path

import pytest

from carboy.containers.record import ContainerConfig, ContainerState
from carboy.containers.watch.usage import find_inner_id, read_network
from carboy.engine.containers.manage import ContainerView
from carboy.engine.containers.update import plan_update
from carboy.engine.containers.usage import plan_usage
from carboy.errors import CarboyError

NET = """Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    100       1    0    0    0     0          0         0      100       1    0    0    0     0       0          0
  eth0:   2000       2    0    0    0     0          0         0      300       2    0    0    0     0       0          0
  eth1:     30       2    0    0    0     0          0         0        4       2    0    0    0     0       0          0
"""
CONFIG = ContainerConfig(
    id="a" * 64, image="x", manifest="m", layers=(), created_at_s=0.0, args=("x",),
    limits=(("memory", "100m"), ("pids-limit", "5"), ("ulimit", "core=0")),
)  # fmt: skip
VIEW = ContainerView(config=CONFIG, state=ContainerState(status="running"), name="web", folder="/x")


def test_network_bytes_are_those_of_all_interfaces_but_the_loopback(tmp_path: Path):
    (tmp_path / "7" / "net").mkdir(parents=True)
    (tmp_path / "7" / "net" / "dev").write_text(NET)
    assert read_network(7, proc=str(tmp_path)) == (2030, 304)
    assert read_network(8, proc=str(tmp_path)) == (0, 0)


def test_ids_inside():
    id_map = [(0, 1000, 1), (1, 100_000, 65_536)]
    assert [find_inner_id(uid, id_map) for uid in (1000, 100_000, 100_999, 0, 165_536)] == [0, 1, 1000, 65_534, 65_534]


def measured(at_s: float, cpu_ns: int, limit: int = 0) -> dict[str, float | int]:
    return {"at_s": at_s, "cpu_ns": cpu_ns, "memory_bytes": 50, "memory_limit_bytes": limit, "pids": 3,
            "read_bytes": 1, "write_bytes": 2, "received_bytes": 3, "sent_bytes": 4, "oom_kills": 0}  # fmt: skip


def test_usage_is_the_difference_of_two_looks():
    usage = plan_usage(VIEW, measured(1.0, 10**9), measured(3.0, 4 * 10**9), total_bytes=200)
    assert usage.cpu_percent == 150
    assert usage.memory_limit_bytes == 200
    assert usage.memory_percent == 25
    assert plan_usage(VIEW, None, measured(3.0, 1, limit=100), total_bytes=200).memory_percent == 50
    assert plan_usage(VIEW, measured(1, 5), measured(2, 3), total_bytes=1).cpu_percent == 0


def test_an_update_replaces_what_it_names():
    after = plan_update(CONFIG, [("memory", "200m")], "always")
    assert after.limits == (("pids-limit", "5"), ("ulimit", "core=0"), ("memory", "200m"))
    assert after.restart == "always"
    assert plan_update(CONFIG, [("cpus", "2")], None).restart == "no"


def test_an_update_that_does_not_go_together_is_refused():
    for limits, restart in (([("memory", "x")], None), ([("memory", "1k")], None), ([], "sometimes")):
        with pytest.raises(CarboyError):
            plan_update(CONFIG, limits, restart)
    with pytest.raises(CarboyError):
        plan_update(CONFIG.replace(auto_remove=True), [], "always")
