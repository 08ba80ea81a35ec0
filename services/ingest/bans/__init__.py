"""Contacts, addresses and networks that nothing is accepted from."""
