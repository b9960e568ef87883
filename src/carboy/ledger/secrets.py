"""What a record does not keep: values that look like credentials. Pure.

The value of a variable is kept out when

- a word of its name is one of ``WORDS``, or its name ends in KEY (``API_KEY``, ``SSHKEY``), or
- it is, or holds, the content of a file that is given with ``--secret``, or
- it holds an address with a password, a private key, or a token of a well-known form.

A word of the command is kept as ``HIDDEN`` in its place when it holds such a value. Secrets themselves are kept as paths, without
a digest: one of a short password would give it away.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from carboy.base.credentials import find_credentials
from carboy.ledger.record import Variable

HIDDEN = "***"
WORDS = frozenset(
    {
        "PASSWORD", "PASSWD", "PASSPHRASE", "PASS", "PWD", "SECRET", "SECRETS", "TOKEN", "TOKENS", "KEY", "KEYS", "APIKEY",
        "CREDENTIAL", "CREDENTIALS", "AUTH", "AUTHORIZATION", "COOKIE", "DSN", "PAT", "SIGNATURE",
    }
)  # fmt: skip
# Shorter ones are found everywhere, and hide nothing.
MIN_SECRET_LENGTH = 4
_TOKENS = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----"
    r"|\b(?:gh[pousr]_|github_pat_|glpat-|xox[abprs]-|sk-|hf_|pypi-|npm_)[A-Za-z0-9_-]{16,}"
    r"|\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"
    r"|\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}\."
)


def is_secret_name(name: str) -> bool:
    """Return whether a variable of this name is taken for a credential."""
    words = re.split(r"[^A-Z0-9]+", re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", name).upper())
    # PWD alone is the working directory, by POSIX.
    return name != "PWD" and any(
        word in WORDS or word.endswith(("KEY", "PASSWORD", "SECRET", "TOKEN")) for word in words
    )


def looks_secret(text: str) -> bool:
    """Return whether a text holds what is taken for a credential, whatever it is called."""
    return bool(find_credentials([text])) or _TOKENS.search(text) is not None


def hide_variables(env: Iterable[str], *, secrets: Sequence[str]) -> tuple[Variable, ...]:
    """Return the variables ("NAME=VALUE") as they are recorded, sorted by name; the last of a name counts.

    ``secrets`` are the texts of the files that are given as secrets.
    """
    values = dict(item.partition("=")[::2] for item in env)
    return tuple(
        Variable(name=name, value=None if is_secret_name(name) or _is_secret(value, secrets) else value)
        for name, value in sorted(values.items())
    )


def _is_secret(value: str, secrets: Sequence[str]) -> bool:
    return looks_secret(value) or any(secret in value for secret in secrets if len(secret) >= MIN_SECRET_LENGTH)


def find_hidden_values(env: Iterable[str], variables: Sequence[Variable], *, secrets: Sequence[str]) -> tuple[str, ...]:
    """Return the values that must stand nowhere in a record: those of hidden variables, and of secrets."""
    hidden = {variable.name for variable in variables if variable.value is None}
    values = dict(item.partition("=")[::2] for item in env)
    found = [*(value for name, value in values.items() if name in hidden), *secrets]
    return tuple(sorted({value for value in found if len(value) >= MIN_SECRET_LENGTH}, key=len, reverse=True))


def hide_words(words: Sequence[str], values: Sequence[str]) -> tuple[tuple[str, ...], bool]:
    """Return a command as it is recorded, and whether something was kept out of it."""
    shown = []
    for word in words:
        text = word
        for value in values:
            text = text.replace(value, HIDDEN)
        for value in find_credentials([text]):
            text = text.replace(value, HIDDEN)
        shown.append(_TOKENS.sub(HIDDEN, text))
    return tuple(shown), tuple(shown) != tuple(words)
