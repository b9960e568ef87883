"""Answers."""

ANSWER = 42
