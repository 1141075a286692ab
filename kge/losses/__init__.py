"""Losses for PyKEEN."""
