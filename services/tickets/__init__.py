"""Hears messages (INGEST), assignments (ROUTING), broken promises (SLA), deliveries (NOTIFY).
Says opened, message_added, assignee_changed, reply_sent, status_changed, closed, and the rest.
Keeps every request's one history, and how each request stands.
"""
