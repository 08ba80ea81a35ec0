"""What every service stands on. Nothing in here knows a ticket."""
