"""Webhooks: facts delivered to HTTP endpoints of integrators, signed, and in order if wanted.

`endpoints` holds the subscriptions, `planner` records deliveries with the facts, `store` has the
SQL, `dispatcher` attempts deliveries on the leader, `transport` makes one attempt.
"""
