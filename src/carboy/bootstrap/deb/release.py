"""Release files: what an archive's suite holds, by name and hash. Pure (Debian wiki: DebianRepository/Format)."""

from __future__ import annotations

import calendar
import re
import time
from dataclasses import dataclass

from carboy.bootstrap.control import parse_paragraph
from carboy.bootstrap.errors import ArchiveDataError

_ENTRY = re.compile(r"([0-9a-f]{64})\s+(\d{1,12})\s+(\S+)\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexFile:
    """One file that a Release names: its path below the suite, its size and its hash."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A suite at one moment. Times are seconds since the epoch; ``valid_until_s`` is None when it does not expire."""

    origin: str
    suite: str
    codename: str
    version: str
    date_s: int
    valid_until_s: int | None
    architectures: tuple[str, ...]
    components: tuple[str, ...]
    by_hash: bool
    files: dict[str, IndexFile]

    def find_index(self, component: str, architecture: str) -> IndexFile | None:
        """Return the package index of a component, in the form that is quickest to read, or None.

        Gzip before xz: a third more to fetch, but four times as fast to decompress, which a machine near its mirror
        notices more.
        """
        for ending in (".gz", ".xz", ""):
            found = self.files.get(f"{component}/binary-{architecture}/Packages{ending}")
            if found is not None:
                return found
        return None


def parse_release(text: str) -> Release:
    """Return the release that ``text`` (the signed content, not the file around it) describes.

    Raises ``ArchiveDataError`` when a field is missing or wrong. Only SHA-256 is read: MD5 and SHA-1 prove nothing.
    """
    fields = parse_paragraph(text)
    missing = [name for name in ("Codename", "Date", "Components", "Architectures", "SHA256") if name not in fields]
    if missing:
        raise ArchiveDataError("the archive's Release file lacks fields", details=", ".join(missing))
    files: dict[str, IndexFile] = {}
    for line in fields["SHA256"].split("\n"):
        if not line.strip():
            continue
        entry = _ENTRY.match(line.strip())
        if entry is None:
            raise ArchiveDataError("a hash of the archive's Release file cannot be read", details=line[:200])
        files[entry[3]] = IndexFile(path=entry[3], size_bytes=int(entry[2]), sha256=entry[1])
    until = fields.get("Valid-Until")
    return Release(
        origin=fields.get("Origin", ""),
        suite=fields.get("Suite", ""),
        codename=fields["Codename"],
        version=fields.get("Version", ""),
        date_s=parse_date(fields["Date"]),
        valid_until_s=parse_date(until) if until else None,
        architectures=tuple(fields["Architectures"].split()),
        components=tuple(fields["Components"].split()),
        by_hash=fields.get("Acquire-By-Hash", "").lower() == "yes",
        files=files,
    )


_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_DATE = re.compile(
    r"(?:[A-Z][a-z]{2}, )?\s*(\d{1,2}) ([A-Z][a-z]{2}) (\d{4}) (\d\d):(\d\d):(\d\d) (?:UTC|GMT|\+0000|Z)\Z"
)


def parse_date(text: str) -> int:
    """Return the seconds of a date such as "Sat, 11 Jul 2026 10:16:37 UTC", whatever the locale is."""
    found = _DATE.match(text.strip())
    if found is None or found[2] not in _MONTHS:
        raise ArchiveDataError("a date of the archive's Release file cannot be read", details=text[:100])
    numbers = (int(found[3]), _MONTHS.index(found[2]) + 1, int(found[1]), int(found[4]), int(found[5]), int(found[6]))
    return calendar.timegm(numbers)


def check_release(release: Release, *, wanted: str, now_s: float, check_valid_until: bool, url: str) -> None:
    """Raise ``ArchiveDataError`` unless ``release`` is the suite ``wanted`` and has not expired.

    The signature proves who signed, not what was asked for: without this check a mirror could serve another suite, or
    an old state with known holes, under this one's name.
    """
    if wanted not in (release.codename, release.suite):
        raise ArchiveDataError(
            f"the archive serves another suite than {wanted}",
            details=f"{url} is signed as suite {release.suite!r}, codename {release.codename!r}",
            hint="use another mirror (--mirror URL)",
        )
    if check_valid_until and release.valid_until_s is not None and now_s > release.valid_until_s:
        stamp = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(release.valid_until_s))
        raise ArchiveDataError(
            f"the archive's state of {wanted} has expired",
            details=f"{url} was valid until {stamp}",
            hint="use a mirror that is up to date (--mirror URL), check this machine's clock, or leave this suite out "
            "(--no-security)",
        )
