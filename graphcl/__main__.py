"""``python -m graphcl``."""

from graphcl.cli import main

if __name__ == "__main__":
    main()
