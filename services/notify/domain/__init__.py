"""Recipients, outcomes and retry rules. Pure."""
