"""Print a table by the packages that the Pipfile names, which has no lock."""

import importlib.metadata
import sys

import click
import tabulate

click.echo(tabulate.tabulate([["answer", 42]]))
names = {item.metadata["Name"] for item in importlib.metadata.distributions()}
sys.exit("a package of another platform is installed" if "tzdata" in names else 0)
