"""Entity texts: reading, encoding and clustering."""
