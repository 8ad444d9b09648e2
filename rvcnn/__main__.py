"""Start the command line: ``python -m rvcnn``."""

from rvcnn.cli import main

if __name__ == "__main__":
    main()
