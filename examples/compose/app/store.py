"""The table that the web server and the worker share."""

import os
from pathlib import Path

import pg8000.native

TABLE = """
CREATE TABLE IF NOT EXISTS jobs (
    id     serial PRIMARY KEY,
    number bigint NOT NULL,
    result text
)
"""


def connect() -> pg8000.native.Connection:
    """Return a connection to the database, with the table made."""
    connection = pg8000.native.Connection(
        os.environ.get("DB_USER", "postgres"),
        host=os.environ.get("DB_HOST", "db"),
        port=int(os.environ.get("DB_PORT", "5432")),
        database=os.environ.get("DB_NAME", "postgres"),
        password=Path("/run/secrets/db_password").read_text().strip(),
        timeout=10,
    )
    # Both programs begin at once: only one of them may make the table.
    connection.run("BEGIN")
    connection.run("SELECT pg_advisory_xact_lock(1)")
    connection.run(TABLE)
    connection.run("COMMIT")
    return connection
