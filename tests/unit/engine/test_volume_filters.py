"""``volume ls --filter``."""

from __future__ import annotations

import pytest

from carboy.engine.volumes import describe_volume, filter_volumes
from carboy.errors import CarboyError
from carboy.volumes.store import Volume


def make_volume(name: str, *users: str, **labels: str) -> Volume:
    return Volume(name=name, path=f"/v/{name}/data", created_at_s=1.5, labels=tuple(labels.items()), users=users)


VOLUMES = [
    make_volume("data", "c1", tier="back", app="shop"),
    make_volume("data2", tier="front"),
    make_volume("cache", app="shop"),
]


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ([], "data data2 cache"),
        (["name=data"], "data data2"),
        (["name=data2", "name=cache"], "data2 cache"),
        (["label=app"], "data cache"),
        (["label=tier=front"], "data2"),
        (["label=app", "label=tier"], "data"),
        (["label=tier=none"], ""),
        (["dangling=true"], "data2 cache"),
        (["dangling=0"], "data"),
        (["dangling=true", "label=app"], "cache"),
        (["driver=local"], "data data2 cache"),
        (["driver=nfs"], ""),
    ],
)
def test_filters(filters: list[str], names: str) -> None:
    assert [volume.name for volume in filter_volumes(VOLUMES, filters)] == names.split()


@pytest.mark.parametrize("text", ["size=1", "name", "dangling=maybe"])
def test_what_is_no_filter(text: str) -> None:
    with pytest.raises(CarboyError) as caught:
        filter_volumes(VOLUMES, [text])
    assert caught.value.code == 2


def test_the_shape() -> None:
    described = describe_volume(VOLUMES[0])
    assert described["CreatedAt"] == "1970-01-01T00:00:01.500000Z"
    assert (described["Name"], described["Mountpoint"]) == ("data", "/v/data/data")
    assert (described["Labels"], described["Containers"]) == ({"tier": "back", "app": "shop"}, ["c1"])
