"""The use cases: what a person can ask of containers, images and the store, one function each.

The room owns the order of things (who is locked, leased, cleaned when) and refuses to own text: the command line
renders what is returned here, and another front end may render it differently.
"""
