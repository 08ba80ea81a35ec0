"""HTTP commands and queries of requests."""
