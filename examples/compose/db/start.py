"""PostgreSQL from Debian's packages: makes the cluster when its folder is empty, then becomes the server."""

import os
import subprocess
import sys
from pathlib import Path

DATA = Path(os.environ.get("PGDATA", "/data/cluster"))
USER = os.environ.get("POSTGRES_USER", "postgres")
DATABASE = os.environ.get("POSTGRES_DB", USER)
# Debian keeps the programs of each major version in a folder of its own.
BIN = sorted(Path("/usr/lib/postgresql").glob("*/bin"))[-1]
REACHABLE = "host all all all scram-sha-256\n"


def make_cluster() -> None:
    """Make the cluster in a folder beside its place, so that one that was half made is never taken for a whole one."""
    new = DATA.with_name(DATA.name + ".new")
    subprocess.run(["rm", "-rf", str(new)], check=True)
    password = os.environ.get("POSTGRES_PASSWORD_FILE", "/run/secrets/db_password")
    options = [f"--username={USER}", f"--pwfile={password}", "--auth=scram-sha-256", "--auth-local=peer"]
    subprocess.run([BIN / "initdb", "-D", new, "--encoding=UTF8", "--locale=C.UTF-8", *options], check=True)
    with (new / "pg_hba.conf").open("a") as file:
        file.write(REACHABLE)
    if DATABASE != "postgres":
        create = f'CREATE DATABASE "{DATABASE}"'
        subprocess.run([BIN / "postgres", "--single", "-D", new, "postgres"], input=create, text=True, check=True)
    new.rename(DATA)


def main() -> None:
    """Become the server."""
    if not (DATA / "PG_VERSION").exists():
        make_cluster()
    sys.stdout.flush()
    options = ["-c", "listen_addresses=*", "-c", "unix_socket_directories=/tmp"]
    os.execv(BIN / "postgres", ["postgres", "-D", str(DATA), *options])


if __name__ == "__main__":
    main()
