"""HTTP API of operators, presence, the queue and decisions."""
