"""HTTP endpoints of commands and of queries."""
