"""Exact and quick filtered evaluation of PyKEEN models."""
