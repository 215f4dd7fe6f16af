"""Applies migrations: `python -m migrations upgrade`, `downgrade REVISION`, `sql`, `current`, `check`.

Safe when several start at once: an advisory lock lets one work and the others find it done.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from alembic import command
from alembic.config import Config

HERE = Path(__file__).parent


def config() -> Config:
    """Returns Alembic's configuration; nothing is read from an ini file."""
    settings = Config()
    # Alembic interpolates percent signs.
    settings.set_main_option("script_location", str(HERE).replace("%", "%%"))
    settings.set_main_option("path_separator", "newline")
    settings.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    return settings


def main() -> None:
    """Runs one command of the command line."""
    parser = argparse.ArgumentParser(prog="python -m migrations", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    upgrade = commands.add_parser("upgrade", help="bring the schema up to REVISION")
    upgrade.add_argument("revision", nargs="?", default="head")
    downgrade = commands.add_parser("downgrade", help="take the schema back to REVISION")
    downgrade.add_argument("revision")
    sql = commands.add_parser("sql", help="print the statements of an upgrade without a database")
    sql.add_argument("revision", nargs="?", default="head")
    commands.add_parser("current", help="print the revision that the database is at")
    commands.add_parser("check", help="fail where the schema differs from shared/tables.py")
    arguments = parser.parse_args()
    match arguments.command:
        case "upgrade":
            command.upgrade(config(), arguments.revision)
        case "downgrade":
            command.downgrade(config(), arguments.revision)
        case "sql":
            command.upgrade(config(), arguments.revision, sql=True)
        case "current":
            command.current(config())
        case "check":
            command.check(config())


if __name__ == "__main__":
    main()
