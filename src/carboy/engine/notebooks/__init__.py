"""Notebooks: executed as a run, and worked on in JupyterLab, in the environment of their folder."""
