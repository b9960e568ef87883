"""Builds as a whole: one that was done before, told again (``replay``), and what is noted for that (``recorder``)."""
