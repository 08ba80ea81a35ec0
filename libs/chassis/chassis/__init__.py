"""The base of every service: messaging, PostgreSQL, HTTP, auth. It knows no ticket."""
