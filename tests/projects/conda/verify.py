"""The environment is whole: variables, commands, modules that are compiled."""

import os
import subprocess
import sys

import answers

assert os.environ["GREETING"] == "hello"
assert os.environ["CONDA_PREFIX"] == "/opt/conda"
assert sys.prefix == "/opt/conda", sys.prefix
assert os.path.exists(answers.__cached__)
assert subprocess.check_output(["question"], text=True) == "/opt/conda/share/questions\n"
subprocess.check_call(["answer"])
