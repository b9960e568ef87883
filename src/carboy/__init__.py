"""Containers for data science: a folder of Python becomes a reproducible image that runs isolated."""

__version__ = "0.1.0"
