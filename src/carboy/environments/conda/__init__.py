"""conda's packages: which ones a folder asks for, where they come from, and what they become in an image.

Files are read and packages are linked by carboy itself; py-rattler (the extra ``carboy[conda]``) only chooses versions, in a
process of its own, from the lists that carboy fetched. Nothing of a package runs on the host (docs/adr: conda).
"""
