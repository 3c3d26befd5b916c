"""Upload offline sessions: ``python -m src.tracking upload``."""

import sys

from src.tracking import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
