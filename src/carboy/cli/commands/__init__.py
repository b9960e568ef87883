"""One module per group of verbs; each function takes the words after the verb and returns the exit status."""
