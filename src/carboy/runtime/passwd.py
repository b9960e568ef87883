"""Who a process in a container is: the image's own passwd and group files, read without the C library's help.

``getpwnam`` and its kin load modules that the image may have replaced (CVE-2019-14271), so the two formats, passwd(5) and
group(5), are parsed here. Imported by the stage program: no imports beyond ``os``.
"""

from __future__ import annotations

MAX_ID = 2**32 - 2
MAX_FILE_BYTES = 2**20


class UnknownUserError(ValueError):
    """The user or group asked for is no number and not in the image's files."""


def _records(data: bytes, fields: int) -> list[list[bytes]]:
    rows = [line.split(b":") for line in data.split(b"\n") if line and not line.startswith(b"#")]
    return [row for row in rows if len(row) >= fields]


def _number(text: bytes) -> int | None:
    """Return a decimal id, None for anything else; raises ``UnknownUserError`` past the last id."""
    if not text.isdigit() or not text.isascii():
        return None
    if int(text) > MAX_ID or len(text) > 10:
        raise UnknownUserError(f"{text.decode()} is past the last user id")
    return int(text)


def resolve_user(user: str, passwd: bytes, group: bytes) -> tuple[int, int, list[int], str]:
    """Return (uid, gid, supplementary gids, home directory) for Docker's ``USER`` form.

    A number is never looked up as a name (CVE-2016-3697); one that has no entry has gid 0 and home "/". The gid is one of
    the supplementary ones, too: else a program with a set-group-id bit takes the process out of the group, and permissions
    that shut the group out no longer hold (CVE-2022-36109).
    Raises ``UnknownUserError``.
    """
    name, has_group, group_name = user.encode("utf-8", "surrogateescape").partition(b":")
    name = name or b"0"
    rows = _records(passwd, 6)
    uid = _number(name)
    if uid is not None:
        row = next((r for r in rows if _safe(r[2]) == uid), None)
    else:
        row = next((r for r in rows if r[0] == name), None)
        uid = _safe(row[2]) if row is not None else None
    if uid is None:
        raise UnknownUserError(f"there is no user {name.decode(errors='replace')!r} in the image")
    gid = (_safe(row[3]) if row is not None else None) or 0
    home = row[5].decode("utf-8", "surrogateescape") if row is not None and row[5] else "/"
    groups = _records(group, 3)
    if has_group and group_name:
        gid = _resolve_group(group_name, groups)
        return uid, gid, [gid], home
    login = row[0] if row is not None else None
    member_of = [_safe(g[2]) for g in groups if len(g) > 3 and login is not None and login in g[3].split(b",")]
    return uid, gid, sorted({gid, *(g for g in member_of if g is not None)}), home


def resolve_groups(names: list[str], group: bytes) -> list[int]:
    """Return the gids of groups, by number or by their name in the image. Raises ``UnknownUserError``."""
    records = _records(group, 3)
    return [_resolve_group(name.encode("utf-8", "surrogateescape"), records) for name in names]


def _safe(text: bytes) -> int | None:
    try:
        return _number(text)
    except UnknownUserError:
        return None


def _resolve_group(name: bytes, groups: list[list[bytes]]) -> int:
    gid = _number(name)
    if gid is None:
        row = next((g for g in groups if g[0] == name), None)
        gid = _safe(row[2]) if row is not None else None
    if gid is None:
        raise UnknownUserError(f"there is no group {name.decode(errors='replace')!r} in the image")
    return gid
