"""Carries plans out: the steps of ``planning`` become calls of the engine, each when what it waits for is done.

``backend`` says what is asked of an engine, ``memory`` is one that keeps all in its memory, ``containers`` and ``resources``
are carboy's own; ``request`` (pure) is how a service's container is asked for, and what is refused; ``executor`` walks a plan;
``projects`` are the use cases. Nothing here decides what is to be done.
"""
