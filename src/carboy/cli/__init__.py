"""The command line: parse options, call one use case, render what it returned. Nothing is decided here."""
