"""Tokens for a registry: what is asked of its token server, and what the answer says. Pure.

Sources: the distribution project's "Token Authentication Specification" and "OAuth2 Token Authentication".
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode, urlsplit

from carboy.oci.document import parse_json
from carboy.oci.errors import InvalidDocumentError
from carboy.remote.errors import UnreachableError
from carboy.remote.settings import is_inside

if TYPE_CHECKING:
    from collections.abc import Sequence

    from carboy.remote.challenge import Challenge
    from carboy.remote.logins import Login
    from carboy.remote.settings import Endpoint

MAX_REPLY_BYTES = 65_536
# What a token lasts for where nothing is said, and what nobody may go below.
LEAST_LIFE_S = 60.0
CLIENT = "carboy"


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRequest:
    """One call of a token server: a GET with ``authorization``, or a POST of ``form``."""

    url: str
    authorization: str = ""
    form: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What opens the registry, for ``life_s`` seconds from now."""

    text: str
    life_s: float


def make_scope(repository: str, *actions: str) -> str:
    """Return the scope for actions ("pull", "push") on a repository."""
    return f"repository:{repository}:{','.join(actions)}"


def make_basic(login: Login) -> str:
    """Return the header of a user and a password. Source: RFC 7617, in UTF-8."""
    pair = f"{login.user}:{login.password}".encode()
    return f"Basic {base64.b64encode(pair).decode()}"


def plan_token_request(challenge: Challenge, scopes: Sequence[str], login: Login | None) -> TokenRequest:
    """Return the call that answers a challenge, for these scopes and for what the challenge names, which comes first.

    An identity token goes by POST, which is all that it is good for; everybody else by GET, which all servers know.
    """
    asked = challenge.parameters.get("scope", "")
    named = [asked] if asked else []  # ECR's public registry has one that is no repository's: "aws"
    wanted = list(dict.fromkeys([*named, *scopes]))
    realm, service = challenge.parameters["realm"], challenge.parameters.get("service", "")
    if login is not None and login.identity_token:
        form = {
            "grant_type": "refresh_token",
            "service": service,
            "client_id": CLIENT,
            "scope": " ".join(wanted),
            "refresh_token": login.identity_token,
        }
        return TokenRequest(url=realm, form=urlencode(form))
    query = [("service", service)] if service else []
    query += [("scope", scope) for scope in wanted]
    if login is not None:
        query.append(("account", login.user))
    separator = "&" if urlsplit(realm).query else "?"
    return TokenRequest(
        url=f"{realm}{separator}{urlencode(query)}" if query else realm,
        authorization=make_basic(login) if login is not None else "",
    )


def parse_token(data: bytes) -> Token:
    """Return the token of a reply. Raises ``InvalidDocumentError``."""
    value = parse_json(data, "reply of the token server")
    text = value.get("token") or value.get("access_token")
    if not isinstance(text, str) or not text or not text.isprintable() or not text.isascii():
        raise InvalidDocumentError("the token server's reply holds no token")
    life = value.get("expires_in")
    if not isinstance(life, int | float) or isinstance(life, bool) or life < LEAST_LIFE_S:
        life = LEAST_LIFE_S
    return Token(text=text, life_s=float(life))


def check_realm(realm: str, endpoint: Endpoint) -> None:
    """Refuse an address to which no password may go. Raises ``UnreachableError``."""
    parts = urlsplit(realm)
    host = parts.netloc.rpartition("@")[2]
    reason = ""
    if parts.scheme != "https" and not (parts.scheme == "http" and endpoint.insecure):
        reason = "it is not reached by https"
    elif is_inside(host) and host != endpoint.host and not endpoint.insecure:
        reason = "it is an address of this machine's own network"
    if reason:
        raise UnreachableError(
            f"{endpoint.registry} sends its clients to a token server that is not trusted",
            registry=endpoint.registry,
            details=f"{realm[:300]}: {reason}",
            hint=f'if that is meant so, set insecure = true in [registries."{endpoint.registry}"] of config.toml',
        )
