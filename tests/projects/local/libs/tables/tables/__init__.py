"""A package that is in no index."""

from tabulate import tabulate


def show(name: str, value: int) -> str:
    """Return one row."""
    return tabulate([[name, value]])


def main() -> None:
    """Be a program that the package brings."""
    print(show("the program's answer", 42))
