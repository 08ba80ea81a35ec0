"""Compose e-mail, keep its threads, suppress addresses that take none."""
