"""Requests opened over the HTTP API and from mobile apps."""
