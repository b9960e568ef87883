"""Recorded runs: recording one, listing and comparing them, running one again."""
