"""Models that read the texts of entities and relations."""
