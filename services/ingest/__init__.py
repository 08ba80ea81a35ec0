"""Reads deliveries of every channel, through the gateway; INBOUND and TICKETS, in the intake.

Publishes requests opened; messages received, edited, reacted to or rejected; delivery states.

Stores contacts, conversations and their open requests, the outcome of every item, and bans.
"""
