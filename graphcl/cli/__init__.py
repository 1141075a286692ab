"""The command line ``graphcl``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from graphcl.cli.app import run

    run()
