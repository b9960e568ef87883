"""Option parsing shared by the verbs."""

from __future__ import annotations

import argparse


class Parser(argparse.ArgumentParser):
    """``argparse`` with Docker's habits: options are spelled out, and a wrong call ends with status 2 and one hint."""

    def __init__(self, usage: str, description: str) -> None:
        super().__init__(
            prog=f"carboy {usage.split(' ', 1)[0]}",
            usage=f"carboy {usage}",
            description=description,
            allow_abbrev=False,
        )
