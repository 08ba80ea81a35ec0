"""Follow and publish one versioned configuration document."""
