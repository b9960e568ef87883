"""Users and passwords in addresses, wherever a text that people see could hold them. Pure."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

# Without a password a name is taken for a secret when it is as long as a token.
_TOKEN_LENGTH = 12
# Up to the last "@" before a path: one in a password should be written as %40, and often is not.
_PAIR = r"(\w+://)([^/\s]+)@"


def redact(text: str) -> str:
    """Return ``text`` with the users and passwords of addresses in it replaced."""
    if "@" not in text:
        return text
    import re

    return re.sub(_PAIR, r"\1***@", text)


def find_credentials(texts: Iterable[str]) -> list[str]:
    """Return the secret parts of the addresses in ``texts``: "user:password" as written, and passwords, decoded as well."""
    import re
    from urllib.parse import unquote

    found: dict[str, None] = {}
    for text in texts:
        for _, pair in re.findall(_PAIR, text):
            user, colon, password = pair.partition(":")
            if not colon and len(user) < _TOKEN_LENGTH:
                continue
            secret = password if colon else user
            for item in (pair, secret, unquote(secret)):
                if item:
                    found[item] = None
    return list(found)
