"""``EXPOSE``: ports, ranges, protocols, and hosts that do not belong there. Source: dockerfile2llb/convert_expose.go."""

from __future__ import annotations

from carboy.dockerfile.errors import LanguageError
from carboy.dockerfile.value import Value

_PROTOCOLS = frozenset({"tcp", "udp", "sctp"})
_MAX_PORT = 65535


class Exposed(Value):
    """What a word of EXPOSE means: ``ports`` as "80/tcp", ``protocol`` as written ("".

    None), ``published`` with a host's part.
    """

    ports: tuple[str, ...]
    protocol: str = ""
    published: bool = False


def parse_exposed(word: str) -> Exposed:
    """Return the ports of "[[ip:]host:]port[-port][/protocol]"; the host's part is dropped (trap 55).

    Raises ``LanguageError``.
    """
    *host, container = word.rsplit(":", 2)
    port, _, protocol = container.partition("/")
    if not port:
        raise LanguageError(f"no port specified: {word}<empty>", word=word, hint="write EXPOSE 8080, or 53/udp")
    if (protocol or "tcp").lower() not in _PROTOCOLS:
        raise LanguageError(f"invalid proto: {protocol.lower()}", word=word, hint="there are tcp, udp and sctp")
    first, last = _range(port, word, "containerPort")
    if host and host[-1]:
        host_first, host_last = _range(host[-1], word, "hostPort")
        if host_last - host_first != last - first and first != last:
            raise LanguageError(
                f"invalid ranges specified for container and host Ports: {port} and {host[-1]}", word=word
            )
    kind = (protocol or "tcp").lower()
    ports = tuple(f"{number}/{kind}" for number in range(first, last + 1))
    return Exposed(ports=ports, protocol=protocol, published=bool(host))


def _range(text: str, word: str, what: str) -> tuple[int, int]:
    first, dash, last = text.partition("-")
    numbers = [first, last] if dash else [first, first]
    if not all(n.isascii() and n.isdecimal() and len(n) <= 20 and int(n) <= _MAX_PORT for n in numbers):
        raise LanguageError(
            f"invalid {what}: {text}", word=word, hint="a number up to 65535, or two with - between them"
        )
    if int(numbers[1]) < int(numbers[0]):
        raise LanguageError(f"invalid {what}: {text}", word=word, hint="the smaller number comes first")
    return int(numbers[0]), int(numbers[1])
