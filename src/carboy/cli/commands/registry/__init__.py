"""Verbs that speak to registries."""
