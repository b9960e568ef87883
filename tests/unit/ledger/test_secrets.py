from __future__ import annotations

import pytest

from carboy.ledger.secrets import (
    HIDDEN,
    find_hidden_values,
    hide_variables,
    hide_words,
    is_secret_name,
    looks_secret,
)


@pytest.mark.parametrize(
    "name",
    [
        "PASSWORD", "DB_PASSWORD", "PGPASSWORD", "api_key", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "SSHKEY", "apiKey",
        "clientSecret", "AUTH", "SESSION_COOKIE", "SENTRY_DSN", "DB_PASS", "MYSQL_PWD", "GITHUB_PAT",
    ],
)  # fmt: skip
def test_names_of_credentials(name: str):
    assert is_secret_name(name)


@pytest.mark.parametrize(
    "name", ["PATH", "MODE", "PWD", "KEYBOARD", "TOKENIZERS", "N_EPOCHS", "AUTHOR", "MONKEYS", "HOME", "COMPASS", ""]
)
def test_names_of_other_things(name: str):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "postgres://ann:s3same@db.example.org/x",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
        "ghp_" + "a1B2" * 9,
        "AKIA" + "ABCDEFGH12345678",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc",
    ],
)
def test_values_of_credentials(text: str):
    assert looks_secret(text)
    (variable,) = hide_variables([f"PLAIN={text}"], secrets=())
    assert (variable.name, variable.value) == ("PLAIN", None)


def test_plain_values_are_kept_and_the_last_of_a_name_counts():
    found = hide_variables(["B=https://example.org/a?b=c", "A=1", "A=2"], secrets=())
    assert [(item.name, item.value) for item in found] == [("A", "2"), ("B", "https://example.org/a?b=c")]


def test_what_a_secret_s_file_holds_is_kept_out_of_variables():
    found = hide_variables(["PLAIN=prefix-hunter2", "SHORT=abc"], secrets=("hunter2", "abc"))
    assert [(item.name, item.value) for item in found] == [("PLAIN", None), ("SHORT", "abc")]


def test_a_command_is_kept_without_the_values_that_are_hidden():
    env = ["API_TOKEN=sesame99", "MODE=fast", "PIN_KEY=1"]
    variables = hide_variables(env, secrets=("hunter2",))
    values = find_hidden_values(env, variables, secrets=("hunter2",))
    assert set(values) == {"sesame99", "hunter2"}  # "1" would be found everywhere
    words = ["train", "--token=sesame99", "-p", "xhunter2", "--mode=fast", "https://ann:pw12@example.org/"]
    shown, hides = hide_words(words, values)
    assert hides
    assert shown == ("train", f"--token={HIDDEN}", "-p", f"x{HIDDEN}", "--mode=fast", f"https://{HIDDEN}@example.org/")
    assert hide_words(["train", "--mode=fast"], values) == (("train", "--mode=fast"), False)
