"""Read streams by position, publish the outbox, defer and replay facts."""
