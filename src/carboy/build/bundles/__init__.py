"""Bundles: all that a build fetches, in one archive, to be built from where no network is.

This room owns the archive's form, what goes into it, and how it is taken in again. It fetches through the rooms that know
their archives and indexes, and decides nothing about versions.
"""
