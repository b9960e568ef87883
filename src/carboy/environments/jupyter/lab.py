"""Serves JupyterLab, and says where as soon as it answers: ``lab.py URL OPTIONS``. The token is in JUPYTER_TOKEN."""

import os
import sys

from jupyterlab.labapp import LabApp

DEFAULTS = [
    "--ServerApp.open_browser=False",
    "--ServerApp.allow_root=True",  # of the container; the files are the caller's
    "--ServerApp.answer_yes=True",  # Ctrl-C ends it without a question
    "--ServerApp.log_level=WARN",
    "--LabApp.log_level=WARN",
    "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    "--LabApp.news_url=None",
    "--KernelManager.transport=ipc",  # nobody else on the container's network is to talk to a kernel
]


def main() -> None:
    """Listen, then say so, then serve until the end."""
    url, options = sys.argv[1], sys.argv[2:]
    token = os.environ["JUPYTER_TOKEN"]
    server = LabApp.initialize_server([*DEFAULTS, *options])
    del os.environ["JUPYTER_TOKEN"]  # kernels need not have it
    # The server listens from the first turn of its loop on, and this comes after it.
    server.io_loop.add_callback(lambda: print(f"JupyterLab is at {url}/lab?token={token}", flush=True))
    server.start()


if __name__ == "__main__":
    main()
