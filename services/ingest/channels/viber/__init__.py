"""Viber's bot API."""
