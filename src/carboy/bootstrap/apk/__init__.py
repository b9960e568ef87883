"""Bases of Alpine's packages (apk, format 2): signed indexes, dependencies, scripts, and the database that apk goes on with."""
