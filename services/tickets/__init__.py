"""Reads INGEST (messages), ROUTING (assignments), SLA (breaches) and NOTIFY (deliveries).
Publishes opened, message_added, assignee_changed, reply_sent, status_changed, closed and others.
Stores the history of every request, and its current state.
"""
