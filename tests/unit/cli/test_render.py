from hypothesis import given
from hypothesis import strategies as st

from carboy.cli.render import printable, render_age, render_error, render_ports, render_size, render_table
from carboy.errors import CarboyError


def test_an_error_says_what_was_seen_and_what_to_do():
    error = CarboyError("the disk is full", details="/data\nneeds 3 GB", hint="free some space")
    assert render_error(error) == "error: the disk is full\n  /data\n  needs 3 GB\nhint: free some space"


def test_a_hostile_name_cannot_drive_the_terminal():
    assert render_error(CarboyError("no image \x1b]52;c;eA\x07")) == "error: no image \\x1b]52;c;eA\\x07"


@given(st.text())
def test_printable_text_has_no_control_characters_but_line_breaks_and_tabs(text: str):
    assert all(c in "\n\t" or c.isprintable() for c in printable(text))


def test_sizes_are_decimal_with_three_digits_at_most():
    sizes = [0, 999, 1000, 1_234_567, 99_900_000, 123_456_789_000, 10**16]
    assert [render_size(s) for s in sizes] == ["0 B", "999 B", "1 kB", "1.23 MB", "99.9 MB", "123 GB", "10000 TB"]


def test_ages():
    assert [render_age(s) for s in (0, 59, 60, 7_200, 86_400)] == [
        "just now", "just now", "1 minute ago", "2 hours ago", "1 day ago",
    ]  # fmt: skip


def test_a_table_is_aligned_and_has_no_trailing_blanks():
    assert render_table(("A", "LONG"), [("xyz", "1"), ("é", "")]) == "A    LONG\nxyz  1\né"


def test_a_cell_cannot_pass_for_a_row_of_its_own() -> None:
    table = render_table(("NAME", "COMMAND"), [("web", "sh\nevil  rm\t-rf\x1b[2J")])
    assert table.splitlines() == ["NAME  COMMAND", "web   sh\\nevil  rm\\t-rf\\x1b[2J"]


def test_ports_are_written_as_docker_does():
    assert render_ports(["127.0.0.1:8080:80/tcp", "[::1]:53:53/udp"]) == "127.0.0.1:8080->80/tcp, [::1]:53->53/udp"
    assert not render_ports([])
