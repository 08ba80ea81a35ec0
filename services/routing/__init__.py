"""Reads the facts of requests (TICKETS), and presence and claims over HTTP.
Publishes request_queued, request_assigned, request_unassigned, capacity_reached, and presence.
Stores presence, the queue, assignments and loads, decisions with their reasons, and anomalies.
"""
