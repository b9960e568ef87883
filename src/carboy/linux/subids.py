"""The ranges of ids that an administrator gave to a user. Source: subuid(5), newuidmap(1).

Pure but for :func:`read_ranges`. A line is ``name-or-uid:start:count``; /etc/subgid has the same form, and its first
field names the *user* as well. Lines that are anything else are passed over, as newuidmap does.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    Range = tuple[int, int]

SUBUID = "/etc/subuid"
SUBGID = "/etc/subgid"
MAX_FILE_BYTES = 4 * 2**20
MAX_RANGES = 339  # an id map has 340 lines at most (user_namespaces(7)), and one is the user's own id
END_OF_IDS = 2**32 - 1
WANTED_IDS = 65_536  # what an image may use: the 16-bit ids, "nobody" (65534) among them
_FIRST_FREE = 100_000  # where useradd starts as well


def _iter_lines(text: str) -> Iterator[tuple[str, int, int]]:
    for line in text.splitlines():
        owner, _, rest = line.strip().partition(":")
        start, _, count = rest.partition(":")
        if owner and not owner.startswith("#") and start.isdecimal() and count.isdecimal():
            first, length = int(start), int(count)
            if length > 0 and first + length <= END_OF_IDS:
                yield owner, first, length


def parse_ranges(text: str, *, name: str, uid: int) -> tuple[Range, ...]:
    """Return the (start, count) ranges of a user, in the file's order, without those that overlap an earlier one.

    A range that holds the user's own id is passed over too: the map gives that id to root already.
    """
    found: list[Range] = []
    for owner, start, count in _iter_lines(text):
        if owner not in {name, str(uid)} or start <= uid < start + count:
            continue
        if any(start < first + length and first < start + count for first, length in found):
            continue
        found.append((start, count))
    return tuple(found[:MAX_RANGES])


def read_ranges(path: str, *, name: str, uid: int) -> tuple[Range, ...]:
    """Return the ranges of a user from /etc/subuid or /etc/subgid; none when the file is missing or unreadable."""
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_FILE_BYTES)
    except OSError:
        return ()
    return parse_ranges(data.decode("utf-8", "replace"), name=name, uid=uid)


def plan_extents(own: int, ranges: Sequence[Range]) -> tuple[tuple[int, int, int], ...]:
    """Return the id map (inside, outside, count): the user's own id as 0, then the ranges one after the other."""
    extents = [(0, own, 1)]
    inside = 1
    for start, count in ranges:
        extents.append((inside, start, count))
        inside += count
    return tuple(extents)


def count_ids(extents: Sequence[tuple[int, int, int]]) -> int:
    """Return how many ids, from 0 on and without a gap, a map has."""
    end = 0
    for inside, _, count in sorted(extents):
        if inside != end:
            break
        end += count
    return end


def find_free_range(texts: Sequence[str]) -> Range:
    """Return a range of ``WANTED_IDS`` ids that none of these files gives to anybody, for the hint of a command."""
    taken = [(start, count) for text in texts for _, start, count in _iter_lines(text)]
    start = max([_FIRST_FREE, *(first + count for first, count in taken)])
    if start + WANTED_IDS <= END_OF_IDS:
        return start, WANTED_IDS
    return _FIRST_FREE, WANTED_IDS
