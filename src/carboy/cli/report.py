"""What ``carboy build`` prints of a build that went well, whether it was built or told again."""

from __future__ import annotations

import os
import sys

from carboy.cli.render import printable, render_size

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


def print_cached(titles: Sequence[str], *, mode: str) -> None:
    """Print the steps of a build that is all cached as the views of ``cli.steps`` do, without the machinery for more."""
    if mode == "tty" or (mode == "auto" and sys.stderr.isatty()):
        for title in titles:
            print(_render_line(printable(title)), file=sys.stderr)
    else:
        for number, title in enumerate(titles, 1):
            print(f"#{number} {title}\n#{number} CACHED", file=sys.stderr)


def _render_line(title: str) -> str:
    try:
        width = os.get_terminal_size(sys.stderr.fileno()).columns or 80  # a terminal may not know its size
    except OSError:
        width = 80
    room = max(width - len("ok   cached"), 1)
    title = title if len(title) <= room else f"{title[: room - 1]}\u2026"
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return f"ok {title}  cached"
    return f"\x1b[32mok \x1b[0m{title}\x1b[2m  cached\x1b[0m"


def print_warnings(warnings: Sequence[str]) -> None:
    """Print what the build checks found."""
    if not warnings:
        return
    count = f"{len(warnings)} warning{'s' if len(warnings) > 1 else ''}"
    print(f"{count} (carboy build --check shows where):", file=sys.stderr)
    for warning in warnings:
        print(printable(f" - {warning}"), file=sys.stderr)


def print_result(digest: str, *, tags: Sequence[str], size_bytes: int, quiet: bool) -> None:
    """Print the digest for programs, and the names for people."""
    print(digest)
    if tags and not quiet:
        print(f"built {', '.join(tags)}, {render_size(size_bytes)}", file=sys.stderr)
