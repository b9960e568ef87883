"""RUN: a command in the native sandbox on a state's layers, and what it changed as a layer.

What a step mounts (``mounts``), what is kept between builds (``caches``), agents (``agents``), and the step itself
(``step``). Secrets, agents and proxies are given to the process and to nothing else.
"""
