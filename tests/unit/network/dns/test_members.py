"""Names come from the members' files of the networks that a container is on, and from no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from carboy.network.dns import messages as m
from carboy.network.dns.members import Names, encode_member, read_member


def join(folder: Path, network: str, container: str, *names: str, address: str, is_internal: bool = False) -> Path:
    members = folder / network / "members"
    members.mkdir(parents=True, exist_ok=True)
    path = members / container
    path.write_bytes(
        encode_member(
            addresses=(address,), names=names, subnet=address.rpartition(".")[0] + ".0/24", is_internal=is_internal
        )
    )
    return path


def ask(names: Names, name: str, kind: int = m.A) -> bytes | None:
    names.refresh()
    section = m.encode_name(name) + kind.to_bytes(2, "big") + b"\0\1"
    return names.answer(m.parse_question(b"\0\1\1\0\0\1\0\0\0\0\0\0" + section))


@pytest.fixture
def names(tmp_path: Path) -> Names:
    join(tmp_path, "front", "c1", "web", address="10.5.1.2")
    join(tmp_path, "front", "c2", "db", "postgres", address="10.5.1.3")
    join(tmp_path, "back", "c3", "secret", address="10.5.2.2")
    (tmp_path / "front.json").touch()
    return Names(str(tmp_path), "c1")


def test_names_aliases_and_full_names_on_the_same_network(names: Names) -> None:
    for name in ("db", "DB", "postgres", "db.front", "web"):
        answer = ask(names, name)
        assert answer
        assert answer[-4:] == bytes([10, 5, 1, 2 if name == "web" else 3])


def test_row_103_another_networks_names_and_addresses_are_unknown(names: Names) -> None:
    assert ask(names, "secret") is None
    assert ask(names, "2.2.5.10.in-addr.arpa", m.PTR) is None
    assert ask(names, "elsewhere.example") is None


def test_a_known_name_without_such_a_record_is_not_asked_elsewhere(names: Names) -> None:
    for kind in (m.AAAA, 16):
        answer = ask(names, "db", kind)
        assert answer
        assert answer[3] & 15 == m.NOERROR
        assert answer[6:8] == b"\0\0"


def test_reverse_lookups(names: Names) -> None:
    answer = ask(names, "3.1.5.10.in-addr.arpa", m.PTR)
    assert answer
    assert answer.endswith(m.encode_name("db.front"))
    nobody = ask(names, "77.1.5.10.in-addr.arpa", m.PTR)
    assert nobody
    assert nobody[3] & 15 == m.NXDOMAIN


def test_members_come_and_go(names: Names, tmp_path: Path) -> None:
    assert ask(names, "late") is None
    path = join(tmp_path, "front", "c9", "late", address="10.5.1.9")
    assert ask(names, "late")
    path.unlink()
    assert ask(names, "late") is None


def test_row_103_only_internal_networks_close_the_way_out(tmp_path: Path) -> None:
    names = Names(str(tmp_path), "c1")
    names.refresh()
    assert not names.is_closed
    join(tmp_path, "vault", "c1", "web", address="10.5.3.2", is_internal=True)
    names.refresh()
    assert names.is_closed
    join(tmp_path, "front", "c1", "web", address="10.5.1.2")
    names.refresh()
    assert not names.is_closed


def test_a_file_that_has_just_gone_is_nobody(tmp_path: Path) -> None:
    assert read_member(str(tmp_path / "gone")) == {}
