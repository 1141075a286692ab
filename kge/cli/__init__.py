"""The command line ``kge``."""

from __future__ import annotations


def main() -> None:
    """Run the command line."""
    from kge.cli.app import run

    run()
