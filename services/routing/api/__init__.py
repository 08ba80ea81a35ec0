"""HTTP addresses of operators, presence and queues."""
