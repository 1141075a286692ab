"""Experiments in run directories: one model and one kind of negatives over several seeds."""
