"""One file per case; each offers ``run(options) -> dict`` and a one-line docstring."""
