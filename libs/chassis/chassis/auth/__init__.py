"""Tokens, roles, signatures and signed ids."""
