"""Programs that run inside the sandbox, by the tools' own Python or the folder's: they become a layer as they are.

``kernel`` starts the kernel of a notebook, ``execute`` executes one, ``lab`` serves JupyterLab. ``share`` says how a kernel of
Python is started, ``r`` one of R; ``build.workbench`` says what is installed beside it, and where.
"""
