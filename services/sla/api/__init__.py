"""HTTP endpoints of clocks and overdue requests."""
