"""Who is on a network: a file for each member, written when it joins and read by whoever looks for a name."""

from __future__ import annotations

import _socket
import os
import time

from carboy.network.dns import messages as m

TYPE_CHECKING = False
if TYPE_CHECKING:
    from carboy.network.dns.messages import Question

_SETTLED_NS = 1_000_000_000


class Names:
    """What the members' files of a container's networks say, read anew whenever a folder has changed.

    networks/<network>/members/<container id>    lines "address 10.72.0.5", "name web", "internal", "subnet 10.72.0.0/24"
    """

    def __init__(self, folder: str, container_id: str) -> None:
        self._folder = folder
        self._container_id = container_id
        self._seen: tuple[object, ...] = ()
        self._addresses: dict[str, list[str]] = {}
        self._names: dict[str, list[str]] = {}
        self._subnets: list[tuple[int, int]] = []
        self.is_closed = False

    def refresh(self) -> None:
        """Read the files again if any of them may have changed."""
        folders = self._find_folders()
        seen = tuple((folder, os.stat(folder).st_mtime_ns) for folder in folders)
        if seen == self._seen:
            return
        self._addresses, self._names, self._subnets = {}, {}, []
        open_networks = 0
        for folder in folders:
            network = os.path.basename(os.path.dirname(folder)).lower()
            for member in sorted(os.listdir(folder)):
                fields = read_member(f"{folder}/{member}")
                own = fields.get("name", [])
                for name in own:
                    for full in (name.lower(), f"{name.lower()}.{network}"):
                        self._addresses.setdefault(full, []).extend(fields.get("address", []))
                for address in fields.get("address", []):
                    self._names.setdefault(address, []).extend(f"{name}.{network}" for name in own[:1])
                if member == self._container_id:
                    open_networks += "internal" not in fields
                    self._subnets += [_parse_network(text) for text in fields.get("subnet", [])]
        self.is_closed = bool(folders) and not open_networks
        # Times are as coarse as the kernel's clock tick: what has changed just now may change again unseen.
        settled = not seen or time.time_ns() - max(changed for _, changed in seen) > _SETTLED_NS
        self._seen = seen if settled else ((),)

    def _find_folders(self) -> list[str]:
        try:
            networks = sorted(os.listdir(self._folder))
        except OSError:
            return []
        folders = [f"{self._folder}/{name}/members" for name in networks if not name.endswith(".json")]
        return [folder for folder in folders if os.path.exists(f"{folder}/{self._container_id}")]

    def answer(self, question: Question) -> bytes | None:
        """Return the answer to a question about a member or an address of its networks, None when it is about neither."""
        reverse = m.parse_reverse(question.name)
        if reverse:
            names = self._names.get(reverse)
            if names:
                return m.encode_response(question, m.NOERROR, names=names if question.kind in {m.PTR, m.ANY} else ())
            return m.encode_response(question, m.NXDOMAIN) if self._is_ours(reverse) else None
        found = self._addresses.get(question.name)
        if found is None:
            return None
        wanted = [a for a in found if question.kind == m.ANY or (question.kind == m.AAAA) == (":" in a)]
        # A name that has no record of the kind exists all the same: an empty answer, not one from elsewhere.
        return m.encode_response(question, m.NOERROR, addresses=wanted if question.kind in {m.A, m.AAAA, m.ANY} else ())

    def _is_ours(self, address: str) -> bool:
        if ":" in address:
            return False
        number = int.from_bytes(_socket.inet_aton(address), "big")
        return any(number >> (32 - length) == first >> (32 - length) for first, length in self._subnets)


def read_member(path: str) -> dict[str, list[str]]:
    """Return the fields of a member's file; none when it has just gone."""
    fields: dict[str, list[str]] = {}
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            for line in file:
                key, _, value = line.strip().partition(" ")
                fields.setdefault(key, []).append(value)
    except OSError:
        return {}
    return fields


def _parse_network(text: str) -> tuple[int, int]:
    address, _, length = text.partition("/")
    return int.from_bytes(_socket.inet_aton(address), "big"), int(length)


def encode_member(*, addresses: tuple[str, ...], names: tuple[str, ...], subnet: str, is_internal: bool) -> bytes:
    """Return what :func:`read_member` reads. The first name is the one that an address is shown as."""
    lines = [*(f"address {address}" for address in addresses), *(f"name {name}" for name in names), f"subnet {subnet}"]
    return "".join(f"{line}\n" for line in [*lines, *(["internal"] if is_internal else [])]).encode()
