"""HTTP addresses of clocks and overdue requests."""
