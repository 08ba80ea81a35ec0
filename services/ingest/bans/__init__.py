"""Bans: the API to set and lift them, and their storage."""
