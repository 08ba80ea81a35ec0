"""ConnectiveOne's form of a custom channel."""
