"""How requests reach their answers: tokens, redirects, patience; what says who one is goes where it must and nowhere else."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import pytest
from registries import Registry, Seen, digest_of, fail, open_web, serve

from carboy.base.web import WebSettings
from carboy.oci.descriptor import Descriptor
from carboy.oci.digest import Digest
from carboy.oci.mediatypes import MANIFEST
from carboy.remote.client import RegistryClient
from carboy.remote.errors import DeniedError, RegistryError, UnreachableError
from carboy.remote.logins import Login
from carboy.remote.settings import Endpoint
from carboy.remote.transport import TRIES, Transport

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from registries import Answer, Authority, Server

ME = Login(user="me", password="canary:1")
BASIC = "Basic " + base64.b64encode(b"me:canary:1").decode()
RAW = b'{"schemaVersion": 2, "config": {}, "layers": []}'
TREE = Descriptor(media_type="t", digest=Digest.of(b"tree" * 1000), size=4000)


class Slept(list[float]):
    """What somebody wanted to sleep."""


@contextmanager
def open_client(
    host: str,
    *,
    login: Login | None = None,
    insecure: bool = True,
    web: WebSettings | None = None,
    slept: Slept | None = None,
) -> Iterator[RegistryClient]:
    endpoint = Endpoint(registry=host, host=host, insecure=insecure)
    sleep: Callable[[float], None] = (slept if slept is not None else Slept()).append
    client = RegistryClient(Transport(endpoint, web=web or WebSettings(), login=login, sleep=sleep))
    try:
        yield client
    finally:
        client.close()


def read(client: RegistryClient, blob: Descriptor = TREE) -> bytes:
    data = bytearray()
    client.read_blob("a/b", blob, data.extend)
    return bytes(data)


class TokenServer:
    """Gives tokens that name their scopes, and knows one user."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, list[str], str]] = []
        self.life_s: int | None = 300
        self.least = ""  # what each token allows, whatever was asked
        self.fail: Answer | None = None

    def answer(self, seen: Seen) -> Answer:
        if seen.method == "POST":
            form = parse_qs(seen.body.decode())
            scopes, who = form.get("scope", [""])[0].split(), form["refresh_token"][0]
        else:
            scopes, who = seen.query.get("scope", []), seen.headers.get("authorization", "")
        self.asked.append((seen.method, scopes, who))
        if self.fail is not None:
            return self.fail
        if who not in {"", BASIC, "idt"}:
            return 401, {}, b'{"details": "incorrect username or password"}'
        reply = {"token": f"{who and 'known'}|{self.least or ' '.join(scopes)}|{len(self.asked)}"}
        if self.life_s is not None:
            reply |= {"expires_in": self.life_s}  # type: ignore[dict-item]
        return 200, {"Content-Type": "application/json"}, json.dumps(reply).encode()


class Guard:
    """Lets in who shows a token for what is done; ``void`` are tokens that do not count any more."""

    def __init__(self, realm: str) -> None:
        self.realm = realm
        self.void: set[str] = set()
        self.scope = True
        self.more = ""

    def __call__(self, kind: str, repository: str, seen: Seen) -> Answer | None:
        token = seen.headers.get("authorization", "").removeprefix("Bearer ")
        _, _, scopes = token.partition("|")
        wanted = f"repository:{repository}:" if repository else ""
        actions = "pull" if seen.method in {"GET", "HEAD"} else "push"
        granted = [s.removeprefix(wanted) for s in scopes.rpartition("|")[0].split() if s.startswith(wanted)]
        if token and token not in self.void and (not wanted or any(actions in g.split(",") for g in granted)):
            return None
        challenge = f'Bearer realm="{self.realm}",service="reg"' + self.more
        if wanted and self.scope:
            challenge += f',scope="{wanted}{"pull,push" if actions == "push" else "pull"}",error="insufficient_scope"'
        return 401, {"WWW-Authenticate": challenge}, b'{"errors": [{"code": "UNAUTHORIZED", "message": "no"}]}'


@contextmanager
def open_guarded() -> Iterator[tuple[Registry, Server, TokenServer, Guard, Server]]:
    tokens, registry = TokenServer(), Registry()
    registry.put("a/b", "1", RAW, MANIFEST)
    registry.put_blob("a/b", b"tree" * 1000)
    with serve(tokens.answer) as auth, serve(registry.answer) as server:
        registry.guard = guard = Guard(f"http://{auth.host}/token")
        yield registry, server, tokens, guard, auth


def test_a_token_for_everybody_is_asked_for_once() -> None:
    with open_guarded() as (_, server, tokens, _, _), open_client(server.host) as client:
        assert client.fetch_manifest("a/b", "1").raw == RAW
        assert read(client) == b"tree" * 1000
        assert tokens.asked == [("GET", ["repository:a/b:pull"], "")]
        assert server.seen[0].path == "/v2/"
        assert len(server.seen) == 3  # nobody was refused


def test_a_login_goes_to_the_token_server_and_only_there() -> None:
    with open_guarded() as (_, server, tokens, _, auth), open_client(server.host, login=ME) as client:
        client.fetch_manifest("a/b", "1")
        assert tokens.asked == [("GET", ["repository:a/b:pull"], BASIC)]
        assert auth.seen[0].query["account"] == ["me"]
        assert not any("Basic" in seen.headers.get("authorization", "") for seen in server.seen)


def test_an_identity_token_is_posted() -> None:
    login = Login(identity_token="idt")
    with open_guarded() as (_, server, tokens, _, _), open_client(server.host, login=login) as client:
        client.fetch_manifest("a/b", "1")
        assert tokens.asked == [("POST", ["repository:a/b:pull"], "idt")]


def test_a_registry_token_is_shown_as_it_is() -> None:
    login = Login(registry_token="known|repository:a/b:pull|1")
    with open_guarded() as (_, server, tokens, _, _), open_client(server.host, login=login) as client:
        client.fetch_manifest("a/b", "1")
        assert tokens.asked == []


def test_scopes_that_do_not_suffice_are_asked_for_again() -> None:
    """The scope of the refusal comes first: some token servers look at no other."""
    with open_guarded() as (registry, server, tokens, guard, _), open_client(server.host) as client:
        asked = []

        def once(kind: str, repository: str, seen: Seen) -> Answer | None:
            if repository and not asked:
                asked.append(1)
                told = f'Bearer realm="{guard.realm}",service="reg",scope="aws",error="insufficient_scope"'
                return 401, {"WWW-Authenticate": told}, b""
            return guard(kind, repository, seen)

        registry.guard = once
        client.fetch_manifest("a/b", "1")
        assert [scopes for _, scopes, _ in tokens.asked] == [["repository:a/b:pull"], ["aws", "repository:a/b:pull"]]


def test_a_token_that_is_void_is_replaced_and_one_that_ends_is_not_used() -> None:
    with open_guarded() as (_, server, tokens, guard, _), open_client(server.host) as client:
        client.fetch_manifest("a/b", "1")
        guard.void.add(server.seen[-1].headers["authorization"].removeprefix("Bearer "))
        client.fetch_manifest("a/b", "1")
        assert len(tokens.asked) == 2
        assert [s.headers.get("authorization") for s in server.seen].count(None) == 1


def test_tokens_have_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("carboy.remote.transport.time.monotonic", lambda: now[0])
    with open_guarded() as (_, server, tokens, _, _), open_client(server.host) as client:
        asked = []
        for life_s, after_s in ((300, 0), (300, 289), (None, 2), (None, 49), (None, 2)):
            tokens.life_s, now[0] = life_s, now[0] + after_s
            client.fetch_manifest("a/b", "1")
            asked.append(len(tokens.asked))
        assert asked == [1, 1, 2, 2, 3]  # 10 s before its end it is of no use for what takes a while


def test_a_request_without_a_challenge_is_asked_as_the_first_one() -> None:
    """gcr.io: 401 without a challenge on anything but /v2/."""
    with open_guarded() as (registry, server, tokens, guard, _), open_client(server.host) as client:
        client.fetch_manifest("a/b", "1")
        guard.void.add(server.seen[-1].headers["authorization"].removeprefix("Bearer "))
        registry.plan("GET manifest", (401, {}, b""))
        client.fetch_manifest("a/b", "1")
        assert len(tokens.asked) == 2


def test_negotiate_beside_bearer_is_no_matter() -> None:
    with open_guarded() as (_, server, _, guard, _), open_client(server.host) as client:
        guard.more = ', Negotiate, Basic realm="x"'
        assert client.fetch_manifest("a/b", "1").raw == RAW


def test_a_wrong_password_is_said_to_be_one() -> None:
    wrong = Login(user="me", password="canary")
    with open_guarded() as (_, server, _, _, _), open_client(server.host, login=wrong) as client:
        for act in (client.check_login, lambda: client.fetch_manifest("a/b", "1")):
            with pytest.raises(DeniedError, match="does not know the user me") as caught:
                act()
            assert "canary" not in f"{caught.value.brief}{caught.value.details}{caught.value.hint}"


def test_basic() -> None:
    registry = Registry()
    registry.put("a/b", "1", RAW, MANIFEST)

    def guard(_kind: str, _repository: str, seen: Seen) -> Answer | None:
        told = {"WWW-Authenticate": 'Basic realm="ours, and yours"'}
        return None if seen.headers.get("authorization") == BASIC else (401, told, b"")

    registry.guard = guard
    with serve(registry.answer) as server:
        with open_client(server.host, login=ME) as client:
            client.check_login()
            assert client.fetch_manifest("a/b", "1").raw == RAW
        wrong = Login(user="me", password="x")
        said = "does not know this user, or not with this password"
        with open_client(server.host, login=wrong) as client, pytest.raises(DeniedError, match=said):
            client.check_login()
        with open_client(server.host) as client, pytest.raises(DeniedError, match="refuses access") as caught:
            client.fetch_manifest("a/b", "1")
        assert f"carboy login {server.host}" in caught.value.hint


def test_a_refusal_that_stays_ends() -> None:
    with open_guarded() as (_, server, tokens, _, _), open_client(server.host, login=ME) as client:
        tokens.least = "repository:other:pull"
        with pytest.raises(DeniedError, match="refuses access"):
            client.fetch_manifest("a/b", "1")
        assert len(tokens.asked) == 2


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ((200, {}, b"<html>"), "not valid JSON"),
        ((200, {}, b"{}"), "holds no token"),
        ((200, {}, b'{"token": "' + b"x" * 70_000 + b'"}'), "too long"),
        ((307, {"Location": "http://169.254.169.254/"}, b""), "answers 307"),
        ((418, {}, b""), "answers 418"),
    ],
)
def test_token_servers_that_give_none(reply: Answer, said: str) -> None:
    with open_guarded() as (_, server, tokens, _, _), open_client(server.host, login=ME) as client:
        tokens.fail = reply
        with pytest.raises(RegistryError) as caught:
            client.fetch_manifest("a/b", "1")
        assert said in f"{caught.value.brief} {caught.value.details}"


# --- patience -------------------------------------------------------------------------------------------------------


def test_too_many_requests_and_when_to_come_again() -> None:
    registry, slept = Registry(), Slept()
    registry.put("a/b", "1", RAW, MANIFEST)
    busy = fail(429, "TOOMANYREQUESTS", "slow down")
    registry.plan("GET v2", (503, {}, b""))
    registry.plan("GET manifest", (429, {"Retry-After": "7"}, b"text"), busy, (429, {"Retry-After": "9999"}, b""))
    with serve(registry.answer) as server, open_client(server.host, slept=slept) as client:
        with pytest.raises(RegistryError, match="too many requests"):
            client.fetch_manifest("a/b", "1")  # four tries, one of them for /v2/
        assert slept == [0.5, 7.0, 2.0]
        registry.plan("GET manifest", busy, busy)
        assert client.fetch_manifest("a/b", "1").raw == RAW
        registry.plan("GET manifest", *[busy] * TRIES)
        with pytest.raises(RegistryError, match="too many requests") as caught:
            client.fetch_manifest("a/b", "1")
        assert "TOOMANYREQUESTS: slow down" in caught.value.details
        assert f"carboy login {server.host}" in caught.value.hint


def test_failures_of_the_moment() -> None:
    registry, slept = Registry(), Slept()
    registry.put("a/b", "1", RAW, MANIFEST)
    registry.plan("GET manifest", (500, {}, b""), None, (502, {}, b"<html>"))
    with serve(registry.answer) as server, open_client(server.host, slept=slept) as client:
        assert client.fetch_manifest("a/b", "1").raw == RAW
        assert slept == [0.5, 1.0, 2.0]
        registry.plan("GET manifest", *[(500, {}, b"")] * TRIES)
        with pytest.raises(UnreachableError, match="cannot be reached") as caught:
            client.fetch_manifest("a/b", "1")
        assert "500 Internal Server Error (4 tries)" in caught.value.details


def test_nobody_is_there() -> None:
    with serve(Registry().answer) as server:
        host = server.host
    with open_client(host) as client, pytest.raises(UnreachableError, match="cannot be reached") as caught:
        client.check_login()
    assert "refused" in caught.value.details


# --- redirects ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_where_blobs_are_nobody_hears_who_one_is(status: int) -> None:
    with open_guarded() as (registry, server, _, _, _), ExitStack() as stack:
        other = stack.enter_context(serve(lambda _: (200, {}, b"tree" * 1000)))
        client = stack.enter_context(open_client(server.host, login=ME))
        location = f"http://{other.host}/bucket?X-Signature=a%2Fb&Y=1"
        registry.plan("GET blob", lambda _: (status, {"Location": location}, b"moved"))
        assert read(client) == b"tree" * 1000
        (seen,) = other.seen
        assert "authorization" not in seen.headers
        assert (seen.path, seen.query) == ("/bucket", {"X-Signature": ["a/b"], "Y": ["1"]})
        # To another path of its own it may know.
        registry.plan("GET blob", (status, {"Location": f"/v2/a/b/blobs/{TREE.digest}"}, b""))
        assert read(client) == b"tree" * 1000
        assert server.seen[-1].headers["authorization"].startswith("Bearer known")


def test_a_challenge_from_elsewhere_is_not_answered() -> None:
    with open_guarded() as (registry, server, tokens, guard, _), ExitStack() as stack:
        told = {"WWW-Authenticate": f'Bearer realm="{guard.realm}",service="evil"'}
        other = stack.enter_context(serve(lambda _: (401, told, b"")))
        client = stack.enter_context(open_client(server.host, login=ME))
        registry.plan("GET blob", (307, {"Location": f"http://{other.host}/"}, b""))
        with pytest.raises(DeniedError):
            read(client)
        assert len(other.seen) == 1
        assert len(tokens.asked) == 1


def test_redirects_end() -> None:
    registry = Registry()
    registry.put_blob("a/b", b"tree" * 1000)
    registry.plan("GET blob", *[(302, {"Location": f"/v2/a/b/blobs/{TREE.digest}"}, b"")] * 20)
    with serve(registry.answer) as server, open_client(server.host) as client:
        with pytest.raises(UnreachableError) as caught:
            read(client)
        assert "more than 5 redirects" in caught.value.details
        assert registry.calls["GET blob"] <= 7


class Away:
    """A registry at registry.example.com, by TLS, through a proxy; ``elsewhere`` is blobs.example.org."""

    def __init__(self, stack: ExitStack, authority: Authority) -> None:
        self.registry = Registry()
        self.registry.put("a/b", "1", RAW, MANIFEST)
        self.registry.put_blob("a/b", b"tree" * 1000)
        tls = authority.context()
        self.server = stack.enter_context(serve(self.registry.answer, tls=tls))
        self.elsewhere = stack.enter_context(serve(lambda _: (200, {}, b"tree" * 1000), tls=tls))
        self.inside = stack.enter_context(serve(lambda _: (200, {}, b"tree" * 1000)))
        self.web = stack.enter_context(open_web())
        self.web.places |= {
            "registry.example.com:443": self.server.port,
            "registry.example.com:5000": self.server.port,
            "blobs.example.org:443": self.elsewhere.port,
            f"127.0.0.1:{self.inside.port}": self.inside.port,
        }
        self.settings = WebSettings(proxies=(("https", self.web.address),), ca_file=str(authority.ca))


@pytest.fixture
def away(authority: Authority) -> Iterator[Away]:
    with ExitStack() as stack:
        yield Away(stack, authority)


@pytest.mark.parametrize("host", ["registry.example.com", "registry.example.com:443", "Registry.Example.com:5000"])
def test_one_host_has_several_spellings(away: Away, host: str) -> None:
    """An upload's address is the registry's own, with or without the port that goes without saying."""
    away.web.places["Registry.Example.com:5000"] = away.server.port
    told = {"WWW-Authenticate": "Basic realm=x"}
    away.registry.guard = lambda _k, _r, seen: None if seen.headers.get("authorization") == BASIC else (401, told, b"")
    origin = host.lower().removesuffix(":443")
    away.registry.change = lambda _k, _s, answer: (
        answer[0], {n: v.replace("http://", "https://").replace(host, origin) for n, v in answer[1].items()}, answer[2]
    )  # fmt: skip
    with open_client(host, login=ME, insecure=False, web=away.settings) as client:
        client.send_blob("a/b", Descriptor(media_type="t", digest=Digest.of(b"new"), size=3), lambda: (b"new",))
        assert client.has_blob("a/b", Digest.of(b"new"))


def test_redirects_of_a_registry_that_is_trusted(away: Away) -> None:
    with open_client("registry.example.com", insecure=False, web=away.settings) as client:
        away.registry.plan("GET blob", (307, {"Location": "https://blobs.example.org/x"}, b""))
        assert read(client) == b"tree" * 1000
        for location in (
            "http://blobs.example.org/x",
            "http://registry.example.com/x",
            f"https://127.0.0.1:{away.inside.port}/x",
            f"https://2130706433:{away.inside.port}/x",
            "https://169.254.169.254/latest",
            "https://[::1]/x",
            "file:///etc/passwd",
            "ftp://blobs.example.org/x",
        ):
            away.registry.plan("GET blob", (307, {"Location": location}, b""))
            with pytest.raises(RegistryError) as caught:
                read(client)
            assert caught.value.hint, location
        assert away.inside.seen == []
        assert len(away.elsewhere.seen) == 1


def test_uploads_go_nowhere_else_with_who_one_is(away: Away) -> None:
    told = {"WWW-Authenticate": "Basic realm=x"}
    away.registry.guard = lambda _k, _r, seen: None if seen.headers.get("authorization") == BASIC else (401, told, b"")
    blob = Descriptor(media_type="t", digest=Digest.of(b"new"), size=3)
    with open_client("registry.example.com", login=ME, insecure=False, web=away.settings) as client:
        for location in (
            "http://registry.example.com/u",
            "https://10.0.0.1/u",
            f"https://127.0.0.1:{away.inside.port}/u",
        ):
            away.registry.plan("POST upload", (202, {"Location": location}, b""))
            with pytest.raises(UnreachableError, match="sends its clients where they must not go"):
                client.send_blob("a/b", blob, lambda: (b"new",))
        away.registry.plan("POST upload", (202, {"Location": "https://blobs.example.org/u"}, b""))
        with pytest.raises(RegistryError):  # it answers 200, which is no upload
            client.send_blob("a/b", blob, lambda: (b"new",))
        assert all("authorization" not in seen.headers for seen in away.elsewhere.seen)
        assert away.elsewhere.seen


def test_certificates_are_checked(away: Away) -> None:
    stranger = WebSettings(proxies=away.settings.proxies)
    with open_client("registry.example.com", insecure=False, web=stranger) as client:
        with pytest.raises(UnreachableError, match="cannot be reached") as caught:
            client.check_login()
        assert "certificate" in caught.value.details.lower()
        assert "SSL_CERT_FILE" in caught.value.hint
    away.web.places["registry.example.net:443"] = away.server.port
    with open_client("registry.example.net", insecure=False, web=away.settings) as client:
        with pytest.raises(UnreachableError) as caught:
            client.check_login()
        assert "registry.example.net" in caught.value.details
    assert away.server.seen == []


def test_a_token_server_within_is_refused_before_it_hears_anything(away: Away) -> None:
    told = {"WWW-Authenticate": f'Bearer realm="https://127.0.0.1:{away.inside.port}/token"'}
    away.registry.guard = lambda _k, _r, _s: (401, told, b"")
    with (
        open_client("registry.example.com", login=ME, insecure=False, web=away.settings) as client,
        pytest.raises(UnreachableError, match="token server that is not trusted"),
    ):
        client.check_login()
    assert away.inside.seen == []


def test_from_many_threads_at_once() -> None:
    with open_guarded() as (_, server, tokens, _, _), open_client(server.host) as client:
        found: list[bytes] = []
        threads = [threading.Thread(target=lambda: found.append(read(client))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [digest_of(data) for data in found] == [str(TREE.digest)] * 8
        assert len(tokens.asked) == 1
