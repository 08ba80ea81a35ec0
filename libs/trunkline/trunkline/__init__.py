"""The command people type, the servers it can bring along, and the sink that plays the world."""
