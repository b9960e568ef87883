"""``ps --filter``."""

from __future__ import annotations

from typing import Any

import pytest

from carboy.containers.record import ContainerConfig, ContainerState
from carboy.engine.containers.filters import filter_containers
from carboy.engine.containers.manage import ContainerView
from carboy.errors import CarboyError


def make_view(name: str, *, state: dict[str, Any] | None = None, **config: Any) -> ContainerView:
    values = {"image": "docker.io/library/debian:bookworm", "manifest": "sha256:abc", "layers": (), "args": ("sh",)}
    return ContainerView(
        config=ContainerConfig(**{"id": f"id{name}", "created_at_s": 1.0, **values, **config}),  # type: ignore[arg-type]
        state=ContainerState(**{"status": "running", **(state or {})}),
        name=name,
        folder="/none",
    )


VIEWS = [
    make_view("web", labels=(("tier", "front"), ("app", "shop"))),
    make_view("web2", labels=(("tier", "back"),), state={"status": "exited", "exit_code": 3}),
    make_view("db", image="db:1", network="shop", state={"health": "healthy"}, mounts=(("volume", "data:/srv"),)),
    make_view("paused", state={"status": "paused"}, mounts=(("mount", "type=volume,source=data,target=/x"),)),
]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], ["web", "web2", "db", "paused"]), (["status=exited"], ["web2"]), (["name=web"], ["web", "web2"]),
        (["status=running", "status=paused"], ["web", "db", "paused"]), (["name=web", "status=running"], ["web"]),
        (["label=tier"], ["web", "web2"]), (["label=tier=back"], ["web2"]), (["label=tier=b"], []),
        (["exited=3"], ["web2"]), (["exited=0"], []), (["id=iddb"], ["db"]), (["health=healthy"], ["db"]),
        (["health=none"], ["web", "web2", "paused"]), (["network=shop"], ["db"]), (["ancestor=db:1"], ["db"]),
        (["ancestor=debian"], ["web", "web2", "paused"]), (["ancestor=debian:bookworm"], ["web", "web2", "paused"]),
        (["ancestor=abc"], ["web", "web2", "db", "paused"]), (["volume=data"], ["db", "paused"]), (["volume=dat"], []),
        (["volume=/x"], ["paused"]),
    ],
)  # fmt: skip
def test_filters(filters: list[str], names: list[str]) -> None:
    assert [view.name for view in filter_containers(VIEWS, filters)] == names


def test_labels_narrow_down_together() -> None:
    """Docker: several labels must all be there, unlike the other keys."""
    assert [view.name for view in filter_containers(VIEWS, ["label=tier", "label=app=shop"])] == ["web"]


@pytest.mark.parametrize("text", ["", "status", "colour=red", "=x"])
def test_no_filters(text: str) -> None:
    with pytest.raises(CarboyError, match="no filter") as error:
        filter_containers(VIEWS, [text])
    assert error.value.code == 2
