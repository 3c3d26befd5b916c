"""A store's first state: ``python -m src.bootstrap`` with the store's root keys makes bucket, data and users."""

import sys

from src import cli
from src.settings import AccessSettings, read_settings
from src.storage.bucket import Bucket
from src.storage.first_state import publish_data
from src.storage.users import create_users


def main() -> int:
    """Make the bucket, its data and, where keys for them are given, its users; returns the exit code."""
    return cli.run("bootstrap", _bootstrap)


def _bootstrap() -> None:
    publish_data(print)
    create_users(Bucket.from_environment(), read_settings(AccessSettings), print)


if __name__ == "__main__":
    sys.exit(main())
