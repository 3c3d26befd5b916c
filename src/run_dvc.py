"""DVC on the bucket that the environment names: ``python -m src.run_dvc pull data.dvc``."""

import os
import sys

from src.bucket import Bucket
from src.config import PROJECT, load_environment
from src.errors import StackError

REMOTE = "bucket"


def name_remote(bucket: Bucket) -> None:
    """Make ``bucket`` a remote of this checkout, beside the committed ones, whose every md5 DVC verifies at a pull."""
    from dvc.config import Config

    with Config(str(PROJECT / ".dvc")).edit("local") as config:
        config.setdefault("remote", {})[REMOTE] = {"url": bucket.dvc_url, "verify": True}


def main(arguments: list[str]) -> int:
    """Run DVC's own command line in the project, with the bucket as its remote; returns the exit code."""
    from dvc.cli import main as dvc

    load_environment()
    try:
        bucket = Bucket.from_environment()
        bucket.check()
    except StackError as error:
        print(f"run_dvc: {error}", file=sys.stderr)
        return 1
    name_remote(bucket)
    os.chdir(PROJECT)
    return dvc([*arguments, "--remote", REMOTE])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
