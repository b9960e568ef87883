"""The documents of the Open Container Initiative as values: text in, values out, no disk and no network."""
