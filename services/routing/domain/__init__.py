"""Eligibility, matching and the queue. Pure."""
