"""carboy's own sandbox: a plan made of data, carried out by a tiny stage program."""
