"""SQL every service needs, in the order of the numbers."""
