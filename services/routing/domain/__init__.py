"""Routing decisions: eligibility, methods, matching, and changes of the queue. Pure."""
