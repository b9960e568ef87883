"""Decides: a project and what exists become ordered steps, each with its reason. Everything here is pure."""
