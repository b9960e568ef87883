"""Packages of conda's and of an index, in one Python."""

import os
import sys

import answers
import tabulate

assert sys.base_prefix == os.environ["CONDA_PREFIX"] == "/opt/conda"
sys.stdout.write(tabulate.tabulate([["answer", answers.ANSWER]], tablefmt="plain") + "\n")
