"""HTTP API of notifications and deliveries."""
