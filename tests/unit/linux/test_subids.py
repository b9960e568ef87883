"""Ranges of ids: parsing hostile files, the maps made of them, the free range of a hint."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from carboy.linux import subids
from carboy.linux.namespaces import encode_id_map

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ada:100000:65536\n", ((100000, 65536),)),
        ("1000:100000:65536", ((100000, 65536),)),
        ("bob:1:1\nada:200000:10\n1000:300000:20\nada:400000:5\n", ((200000, 10), (300000, 20), (400000, 5))),
        ("# ada:1:1\n\n  ada:100000:5  \n", ((100000, 5),)),
        ("ada:100000:5\nada:100003:5\n", ((100000, 5),)),  # overlap
        ("ada:900:200\n", ()),  # holds the user's own id
        ("ada:100000\nada:x:5\nada:100000:-5\nada:1e5:5\nada:100000:0\nada::\n", ()),
        ("ada:4294967295:1\nada:4294967290:6\nada:4294967290:5\n", ((4294967290, 5),)),
        ("adam:100000:5\nroot:100000:5\n10000:100000:5\n", ()),
        ("", ()),
    ],
)
def test_parse_ranges(text: str, expected: tuple[tuple[int, int], ...]) -> None:
    assert subids.parse_ranges(text, name="ada", uid=1000) == expected


def test_many_ranges_fit_into_one_map() -> None:
    text = "".join(f"ada:{100_000 + 10 * n}:5\n" for n in range(1000))
    extents = subids.plan_extents(1000, subids.parse_ranges(text, name="ada", uid=1000))
    assert len(extents) == 340
    assert encode_id_map(list(extents)).count(b"\n") == 340


def test_plan_extents() -> None:
    extents = subids.plan_extents(1000, [(100_000, 65_536), (200_000, 10)])
    assert extents == ((0, 1000, 1), (1, 100_000, 65_536), (65_537, 200_000, 10))
    assert subids.count_ids(extents) == 65_547


def test_count_ids_stops_at_a_gap() -> None:
    assert subids.count_ids([(1, 5, 5), (0, 9, 1), (7, 20, 9)]) == 6
    assert subids.count_ids([(1, 5, 5)]) == 0
    assert subids.count_ids([]) == 0


lines = st.text(st.sampled_from("ada:#0123456789 -\t\r"), max_size=30) | st.builds(
    "{}:{}:{}".format, st.sampled_from(["ada", "1000"]), st.integers(-5, 2**33), st.integers(-5, 2**33)
)


@given(st.lists(lines, max_size=20))
def test_every_map_made_of_a_file_is_one_that_the_kernel_takes(found: list[str]) -> None:
    extents = subids.plan_extents(1000, subids.parse_ranges("\n".join(found), name="ada", uid=1000))
    assert encode_id_map(list(extents))
    assert subids.count_ids(extents) == sum(count for _, _, count in extents)


def test_read_ranges_of_a_missing_or_odd_file(tmp_path: Path) -> None:
    assert subids.read_ranges(str(tmp_path / "none"), name="ada", uid=1) == ()
    assert subids.read_ranges(str(tmp_path), name="ada", uid=1) == ()
    (tmp_path / "odd").write_bytes(b"\xff\xfe\0\nada:100000:5\n")
    assert subids.read_ranges(str(tmp_path / "odd"), name="ada", uid=1) == ((100_000, 5),)


def test_find_free_range() -> None:
    assert subids.find_free_range([]) == (100_000, 65_536)
    assert subids.find_free_range(["a:100000:65536\n", "b:165536:65536\n"]) == (231_072, 65_536)
    assert subids.find_free_range(["a:4294900000:60000\n"]) == (100_000, 65_536)
