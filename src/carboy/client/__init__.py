"""The Python face: what ``import carboy`` offers.

Each call is carried out by a process of its own, which opens the engine, does one thing, and answers in JSON: as a plain user
the engine moves its process into a user namespace, which nobody's notebook should find itself in, and which the kernel
refuses to a process with threads. The room owns that talk and the values it returns; it refuses to own any use case.
"""
