"""The connection pool, leader election, locks and array parameters."""
