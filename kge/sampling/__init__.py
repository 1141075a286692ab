"""Negative samplers for PyKEEN, and what they share."""
