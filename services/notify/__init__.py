"""Reads the facts of requests (TICKETS), offers (ROUTING), warnings and breaches (SLA).
Publishes notification_sent, _failed and _suppressed, and message_sent and message_failed.
Stores who is notified of each request, bells, the send ledger, mail threads and deliveries.
"""
