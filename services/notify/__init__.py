"""Hears every fact of a request (TICKETS), offers (ROUTING), warnings and breaches (SLA).
Says notification_sent for whom it told; message_sent and message_failed for what became of a reply.
Keeps who has to do with each request, each bell, and the ledgers of what is sent and handed over.
"""
