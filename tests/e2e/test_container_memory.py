"""What a kept container costs while nothing happens: memory, and no time at all."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from containers import Containers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


pytestmark = [pytest.mark.slow, pytest.mark.root, pytest.mark.userns]

COUNT = 10
KEEPER_BYTES = 15 * 2**20
EACH_BYTES = 15 * 2**20  # all processes of one container but its own: 1.5 GB for a hundred


def iter_tree(pid: int) -> Iterator[int]:
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from iter_tree(int(child))


def read_bytes(pid: int, key: str) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def read_ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_memory_and_time_of_containers_that_do_nothing(
    containers: Containers, record_property: Callable[[str, object], None]
) -> None:
    names = [containers.run(f"c{number}", "sleep", "1000") for number in range(COUNT)]
    keepers = []
    for name in names:
        folder = containers.carboy.home / "containers" / containers.find(name)["Id"]
        keepers.append(int(json.loads((folder / "state.json").read_text())["supervisor"]))
    pids = [pid for keeper in keepers for pid in iter_tree(keeper)]
    rss = max(read_bytes(keeper, "Rss") for keeper in keepers)
    pss = sum(read_bytes(pid, "Pss") for pid in pids) / COUNT
    before = sum(map(read_ticks, pids))
    time.sleep(1)  # nothing is waited for: this is the time that must cost nothing
    ticks = sum(map(read_ticks, pids)) - before
    by_name: dict[str, list[int]] = {}
    for pid in pids:
        by_name.setdefault(Path(f"/proc/{pid}/comm").read_text().strip(), []).append(read_bytes(pid, "Pss"))
    table = {name: round(sum(sizes) / len(sizes) / 2**20, 2) for name, sizes in by_name.items()}
    record_property("memory", f"{containers.carboy.person.tier}: keeper's RSS {rss / 2**20:.1f} MB, PSS {table}")
    assert rss < KEEPER_BYTES
    assert pss < EACH_BYTES, table
    assert ticks <= os.sysconf("SC_CLK_TCK") // 50
