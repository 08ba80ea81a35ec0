"""Stories from one end of the system to the other."""
