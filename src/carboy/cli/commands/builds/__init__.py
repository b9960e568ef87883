"""Verbs around builds."""
