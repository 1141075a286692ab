"""The version of the distribution ``graphcl-kge``."""

__version__ = "0.1.0"
