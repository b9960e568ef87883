"""Says what it requires in a way that only Python can read."""

from setuptools import setup

setup(name="sample", version="1", py_modules=["answers"], install_requires=["".join(["tab", "ulate"])])
