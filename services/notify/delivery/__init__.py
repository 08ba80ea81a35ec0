"""Delivery of messages to customers: the send ledger and its dispatcher."""
