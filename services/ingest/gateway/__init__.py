"""Authenticate inbound deliveries and store them in INBOUND."""
