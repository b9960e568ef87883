"""What can go wrong between an archive and a base layer."""

from __future__ import annotations

from carboy.errors import CarboyError

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
