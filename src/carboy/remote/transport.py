"""How a request reaches its answer: the scheme that a registry speaks, who one is there, redirects, and patience.

A registry's ``/v2/`` is asked once, for the way that it wants to be spoken to. Then every request carries what opens it; one
that is refused with a new challenge is sent once more with what that asks for. What says who one is goes to the registry itself
and its token server, never to where it redirects.

Sources: OCI distribution-spec 1.1; RFC 9110; the retries are those of Docker and containers/image.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit

from carboy.oci.errors import InvalidDocumentError
from carboy.remote.answers import Busy, explain, fail, read_capped, read_delay
from carboy.remote.challenge import choose_challenge, parse_challenges
from carboy.remote.errors import DeniedError, RegistryError, UnreachableError
from carboy.remote.settings import NO_CERTIFICATES, Certificates, is_inside
from carboy.remote.tokens import MAX_REPLY_BYTES, check_realm, make_basic, parse_token, plan_token_request

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    import httpx

    from carboy.base.web import WebSettings
    from carboy.remote.challenge import Challenge
    from carboy.remote.logins import Login
    from carboy.remote.settings import Endpoint

T = TypeVar("T")
TRIES = 4
MAX_REDIRECTS = 5
_FIRST_DELAY_S, _LONGEST_DELAY_S = 0.5, 60.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# A token that ends in the middle of a request is of no use.
_SPARE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is sent: ``target`` is a path below the registry, or a whole address that the registry named.

    ``scopes`` are what a token must allow for it; ``body`` gives the bytes anew each time it is sent; ``answers`` are the
    statuses that are no failure; ``patience_s`` is how long the registry may think, None for the usual time.
    """

    method: str
    target: str
    scopes: tuple[str, ...] = ()
    headers: Mapping[str, str] | None = None
    body: Callable[[], Iterable[bytes]] | None = None
    answers: Collection[int] = (200,)
    patience_s: float | None = None


class Transport:
    """The way to one endpoint, as one person; for any thread. Close it when nothing is on its way any more."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        web: WebSettings,
        login: Login | None = None,
        certificates: Certificates = NO_CERTIFICATES,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.endpoint = endpoint
        self._web = web
        self._login = login
        self._certificates = certificates
        self._sleep = sleep
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        self._base = ""
        self._challenge: Challenge | None = None
        self._tokens: dict[frozenset[str], tuple[str, float]] = {}

    def close(self) -> None:
        """End the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    # --- requests ---------------------------------------------------------------------------------------------------

    @contextmanager
    def open(self, request: Request) -> Iterator[httpx.Response]:
        """Send a request and give its answer, with a body still to be read.

        Raises ``RegistryError`` for a failure, and ``Busy`` for one that may be none the next time.
        """
        self._find()
        import httpx

        try:
            with self._exchange(request) as response:
                if response.status_code not in request.answers:
                    fail(response, self.endpoint.registry, has_login=self._login is not None)
                yield response
        except httpx.TransportError as error:
            raise Busy(explain(error)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            self._unreachable(explain(error))

    def retry(self, action: Callable[[], T]) -> T:
        """Do it, and again while it fails with ``Busy``, a few times. Raises ``UnreachableError`` with the last reason."""
        for attempt in range(TRIES):
            try:
                return action()
            except Busy as error:
                if attempt + 1 == TRIES:
                    self.give_up(error)
                self.wait(error, attempt)
        raise AssertionError(action)

    def wait(self, error: Busy, attempt: int) -> None:
        """Wait before the next attempt: as long as the registry asks, or a little longer each time."""
        delay_s = error.delay_s if error.delay_s is not None else _FIRST_DELAY_S * 2**attempt
        self._sleep(min(delay_s, _LONGEST_DELAY_S))

    def give_up(self, error: Busy) -> NoReturn:
        """Raise what a failure is when it stays: ``UnreachableError``, or ``RegistryError``."""
        if error.status == 429:
            hint = "wait a while" + ("" if self._login else f", or `carboy login {self.endpoint.registry}`")
            raise RegistryError(
                f"{self.endpoint.registry} has had too many requests",
                registry=self.endpoint.registry,
                status=429,
                details=str(error),
                hint=hint,
            ) from error
        self._unreachable(f"{error} ({TRIES} tries)", status=error.status)

    def _unreachable(self, reason: str, *, status: int = 0) -> NoReturn:
        registry = self.endpoint.registry
        raise UnreachableError(
            f"the registry {registry} cannot be reached",
            registry=registry,
            status=status,
            details=reason,
            hint="check its name, the network and HTTPS_PROXY, and, where a company signs its own certificates, SSL_CERT_FILE",
        )

    @contextmanager
    def _exchange(self, request: Request) -> Iterator[httpx.Response]:
        """Send a request, once more with a better answer to a challenge, and to where it is redirected."""
        url, challenged = urljoin(f"{self._base}/", request.target), False
        self._check_target(url)
        scopes = request.scopes
        for _ in range(MAX_REDIRECTS + 2):
            own = self._is_own(url)
            with self._send(request, url, authorization=self._authorize(scopes) if own else "") as response:
                status = response.status_code
                if status == 401 and own and not challenged:
                    challenged = True
                    self._learn(response, scopes)
                    continue
                if status in _REDIRECTS and request.method in {"GET", "HEAD"} and "location" in response.headers:
                    url = urljoin(url, response.headers["location"])
                    self._check_target(url)
                    continue
                yield response
                return
        self._unreachable(f"more than {MAX_REDIRECTS} redirects")

    @contextmanager
    def _send(self, request: Request, url: str, *, authorization: str) -> Iterator[httpx.Response]:
        assert self._client is not None
        headers = dict(request.headers or {})
        if authorization:
            headers["Authorization"] = authorization
        content = request.body() if request.body is not None else None
        timeout = self._client.timeout
        if request.patience_s is not None:
            timeout = type(timeout)(**{**timeout.as_dict(), "read": request.patience_s})
        with self._client.stream(request.method, url, headers=headers, content=content, timeout=timeout) as response:
            yield response

    def _is_own(self, url: str) -> bool:
        """Return whether an address is the registry's own, by scheme, host and port."""
        mine = _parse_origin(self._base)
        return mine is not None and mine == _parse_origin(url)

    def _check_target(self, url: str) -> None:
        """Refuse an address that a registry has no reason to send anybody to. Raises ``UnreachableError``."""
        parts = urlsplit(url)
        reason = ""
        if parts.scheme not in {"https", "http"} or (parts.scheme == "http" and not self.endpoint.insecure):
            reason = "it is not reached by https"
        elif not self._is_own(url) and is_inside(parts.netloc) and not self.endpoint.insecure:
            reason = "it is an address of this machine's own network"
        if reason:
            registry = self.endpoint.registry
            raise UnreachableError(
                f"{registry} sends its clients where they must not go",
                registry=registry,
                details=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"[:300] + f": {reason}",
                hint=f'if that is meant so, set insecure = true in [registries."{registry}"] of config.toml',
            )

    # --- the way there ----------------------------------------------------------------------------------------------

    def _find(self) -> None:
        """Find out by which scheme the registry is reached, and what it wants to hear, once."""
        with self._lock:
            if self._client is not None:
                return
            schemes = ("https", "http") if self.endpoint.insecure else ("https",)
            reasons, context = [], self._make_context()
            for scheme in schemes:
                reason = self._ping(scheme, context)
                if not reason:
                    return
                self.close()
                reasons.append(reason)
            self._unreachable("\n".join(dict.fromkeys(reasons)))

    def _ping(self, scheme: str, context: ssl.SSLContext) -> str:
        """Ask for the API, and return why nobody there speaks it, "" when somebody does. Raises ``Busy``."""
        from carboy.base.web import load_httpx, make_client

        load_httpx()
        import httpx

        self._client = make_client(self._web, context=context, follow_redirects=False)
        self._base = f"{scheme}://{self.endpoint.host}"
        try:
            with self._client.stream("GET", f"{self._base}/v2/") as response:
                if response.status_code == 401:
                    self._keep(choose_challenge(parse_challenges(response.headers.get_list("www-authenticate"))))
                elif response.status_code in {429, 500, 502, 503, 504}:
                    self.close()
                    reason = f"it answers {response.status_code} {response.reason_phrase}"
                    raise Busy(reason, status=response.status_code, delay_s=read_delay(response))
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return explain(error)
        return ""

    def _keep(self, challenge: Challenge | None) -> None:
        """Keep a challenge for other requests: which scope it named is about one of them."""
        if challenge is not None:
            parameters = {name: value for name, value in challenge.parameters.items() if name != "scope"}
            challenge = replace(challenge, parameters=parameters)
        self._challenge = challenge

    def _make_context(self) -> ssl.SSLContext:
        import ssl

        from carboy.base.web import make_tls_context

        if self.endpoint.insecure:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        else:
            context = make_tls_context(self._web)
        try:
            for path in self._certificates.authorities:
                context.load_verify_locations(path)
            if self._certificates.own:
                context.load_cert_chain(*self._certificates.own)
        except (OSError, ssl.SSLError) as error:
            raise UnreachableError(
                f"the certificates for {self.endpoint.registry} cannot be read",
                registry=self.endpoint.registry,
                details=f"{', '.join((*self._certificates.authorities, *(self._certificates.own or ())))}: {error}",
                hint="correct the files, or ca in config.toml",
            ) from error
        return context

    # --- who one is -------------------------------------------------------------------------------------------------

    def _authorize(self, scopes: tuple[str, ...]) -> str:
        """Return the header for a request with these scopes, "" where the registry wants none."""
        challenge, login = self._challenge, self._login
        if login is not None and login.registry_token:
            return f"Bearer {login.registry_token}"
        if challenge is None:
            return ""
        if challenge.scheme == "basic":
            return make_basic(login) if login is not None and login.user else ""
        with self._lock:
            text, ends_s = self._tokens.get(frozenset(scopes), ("", 0.0))
            if not text or time.monotonic() >= ends_s:
                text = self._fetch_token(challenge, scopes)
        return f"Bearer {text}"

    def _learn(self, response: httpx.Response, scopes: tuple[str, ...]) -> None:
        """Take the challenge of a refused request, so that the next one for these scopes carries what it asks for."""
        challenge = choose_challenge(parse_challenges(response.headers.get_list("www-authenticate")))
        if challenge is None:
            if self._challenge is None or self._challenge.scheme == "basic":
                fail(response, self.endpoint.registry, has_login=self._login is not None)
            challenge = self._challenge
        if challenge.scheme == "basic" and (self._login is None or self._login.registry_token):
            fail(response, self.endpoint.registry, has_login=self._login is not None)
        with self._lock:
            self._keep(challenge)
            if challenge.scheme == "bearer":
                self._fetch_token(challenge, scopes)

    def _fetch_token(self, challenge: Challenge, scopes: tuple[str, ...]) -> str:
        """Ask the token server, and keep what it gives; the caller holds the lock."""
        assert self._client is not None
        check_realm(challenge.parameters["realm"], self.endpoint)
        asked = plan_token_request(challenge, scopes, self._login)
        headers = {"Authorization": asked.authorization} if asked.authorization else {}
        if asked.form:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        with self._client.stream(
            "POST" if asked.form else "GET", asked.url, headers=headers, content=asked.form.encode() or None
        ) as response:
            status = response.status_code
            if status in {401, 403} or (status == 400 and self._login is not None):
                self._refuse(response)
            if status != 200:
                fail(response, self.endpoint.registry, has_login=self._login is not None)
            data = read_capped(response.iter_bytes(), MAX_REPLY_BYTES)
            if len(data) > MAX_REPLY_BYTES:
                self._unreachable("its token server's reply is too long")
        try:
            token = parse_token(data)
        except InvalidDocumentError as error:
            self._unreachable(error.brief)
        self._tokens[frozenset(scopes)] = token.text, time.monotonic() + token.life_s - _SPARE_S
        return token.text

    def _refuse(self, response: httpx.Response) -> NoReturn:
        registry, login = self.endpoint.registry, self._login
        if login is None:
            fail(response, registry, has_login=False)
        who = f"the user {login.user}" if login.user else "the identity token"
        raise DeniedError(
            f"{registry} does not know {who}, or not with this password",
            registry=registry,
            status=response.status_code,
            hint=f"`carboy login {registry}`",
        )


def _parse_origin(url: str) -> tuple[str, str, int] | None:
    """Return (scheme, host, port) of an address, as RFC 6454 compares them; None for one that has none, or names a user."""
    try:
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
    except (KeyError, ValueError):
        return None
    return (parts.scheme, parts.hostname, port) if parts.hostname and "@" not in parts.netloc else None
