"""Communities of nodes: soft assignments to learned centres."""

from graphcl.community.assignment import soft_assignment

__all__ = ["soft_assignment"]
