"""Instructions: their types (``model``), and how a line becomes one (``parse``), with flags, mounts and ports."""
