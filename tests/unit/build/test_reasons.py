"""Why a step has to be done again."""

from __future__ import annotations

from typing import Any

import pytest

from carboy.build.graph import ops
from carboy.build.solver.reasons import NEW, explain_step, remember_step

LOCATION = ops.Location(file="Dockerfile", first_line=2, last_line=2, text="RUN make")
SCRATCH = ops.Scratch()


class Cache:
    """The part of a store's cache that is used."""

    def __init__(self) -> None:
        self.entries: dict[str, Any] = {}
        self.cache = self

    def put(self, key: str, kind: str, value: dict[str, Any], digests: list[object]) -> None:
        self.entries[key] = type("Entry", (), {"value": value})()

    def get(self, key: str) -> Any:
        return self.entries.get(key)


def run(env: tuple[str, ...] = ("A=1", "B=secret"), user: str = "", text: str = "RUN make") -> ops.Run:
    location = ops.Location(file="Dockerfile", first_line=9, last_line=9, text=text)
    return ops.Run(parent=SCRATCH, args=("make",), env=env, user=user, location=location)


@pytest.mark.parametrize(
    ("step", "parent", "inputs", "reason"),
    [
        (run(), ("p",), ("i",), "its layer is no longer in the store"),
        (run(), ("q",), ("i",), "what it stands on has changed"),
        (run(), ("p",), ("j",), "files that it reads have changed"),
        (run(env=("A=2", "B=secret", "C=3")), ("q",), ("i",), "its environment has changed: A, C"),
        (run(user="me"), ("p",), ("i",), "its settings have changed"),
        (run(text="RUN make all"), ("p",), ("i",), NEW),
    ],
)
def test_what_has_changed(step: ops.Run, parent: tuple[str, ...], inputs: tuple[str, ...], reason: str) -> None:
    store: Any = Cache()
    remember_step(store, run(), parent=("p",), inputs=("i",))
    assert explain_step(store, step, parent=parent, inputs=inputs).startswith(reason)
    assert "secret" not in repr([entry.value for entry in store.entries.values()])
