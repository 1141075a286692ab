"""Benchmarks that anyone can repeat: ``python -m benchmarks list``."""
