"""What can go wrong between an archive and a base layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carboy.errors import CarboyError, list_first

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

NETWORK_HINT = (
    "check the address (--mirror URL), the proxy (http_proxy, https_proxy, apt's Acquire::http::Proxy) and, "
    "where a company signs its own certificates, SSL_CERT_FILE"
)


class BootstrapError(CarboyError):
    """A base that cannot be made."""


class RecipeError(BootstrapError):
    """A base that carboy does not know, or a package name that is none."""

    def __init__(self, brief: str, *, details: str = "", hint: str = "") -> None:
        super().__init__(brief, details=details, hint=hint, code=2)


class ArchiveUnreachableError(BootstrapError):
    """The archive at ``url`` does not answer, or answers with a failure (``status``, 0 without an answer)."""

    def __init__(self, url: str, reason: str, *, status: int = 0, hint: str = NETWORK_HINT) -> None:
        super().__init__(f"cannot fetch {url}", details=reason, hint=hint)
        self.url = url
        self.reason = reason
        self.status = status


class NotFetchedError(BootstrapError):
    """Without a network: files that a base needs are not in the cache; ``files`` says which."""

    def __init__(self, brief: str, files: Sequence[str]) -> None:
        super().__init__(
            brief,
            details="\n".join(list_first(files, 20)),
            hint="`carboy fetch FOLDER -o bundle.tar`, where there is a network, takes along all that is needed",
        )
        self.files = tuple(files)


class SignatureError(BootstrapError):
    """What the archive at ``url`` sent is not signed by a trusted key."""

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(
            f"the archive's signature cannot be trusted: {url}",
            details=reason,
            hint="use another mirror (--mirror URL); nothing of this one was used",
        )
        self.url = url


class ArchiveDataError(BootstrapError):
    """Signed or hashed data is not what it has to be: truncated, altered, stale, or not in the format."""


class ResolveError(BootstrapError):
    """No set of packages satisfies what was asked for; ``issues`` has one line for each reason."""

    def __init__(self, brief: str, issues: tuple[str, ...], *, hint: str = "") -> None:
        super().__init__(brief, details="\n".join(issues), hint=hint)
        self.issues = issues


class ConfigureError(BootstrapError):
    """A package's own script failed inside the sandbox."""


def explain_missing(
    relation: object,
    why: str,
    *,
    chosen: str | None,
    versions: Iterable[str],
    find_similar: Callable[[], Sequence[str]],
) -> str:
    """Return why nothing is what ``relation`` asks for, in one line.

    ``chosen`` is the version that was chosen for something else, ``versions`` those that the archive has; only where it has none,
    names that are like it are looked for.
    """
    had = ", ".join(versions)
    if chosen is not None:
        reason = f"version {chosen} is needed by something else"
    elif had:
        reason = f"the archive has {had}"
    else:
        similar = find_similar()
        reason = "the archive has no such package" + (f" (is it {' or '.join(similar)}?)" if similar else "")
    return f"{relation}: {why}, but {reason}"
