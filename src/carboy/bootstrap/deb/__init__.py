"""Bases of Debian's packages: Debian and Ubuntu (deb(5), DebianRepository/Format)."""
