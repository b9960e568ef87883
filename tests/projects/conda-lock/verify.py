"""Nothing but what the lock names is there, and works."""

import subprocess
import sys

import answers

assert sys.prefix == "/opt/conda", sys.prefix
assert subprocess.check_output(["question"], text=True) == "/opt/conda/share/questions\n"
sys.stdout.write(f"answer  {answers.ANSWER}\n")
