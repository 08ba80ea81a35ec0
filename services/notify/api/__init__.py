"""HTTP addresses of notifications, deliveries and suppressions."""
