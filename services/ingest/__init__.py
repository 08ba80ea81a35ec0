"""Hears: customers on every channel, by the door; INBOUND and TICKETS, by the intake.

Says: a request was opened; a message was received, edited, reacted to or rejected; ours was read.

Keeps: contacts, conversations and the request each has open, what became of every item, bans.
"""
