"""Numbers."""

ANSWER = 42
