"""Reads TICKETS (every fact that moves a clock) and the position of ROUTING.
Publishes target_{set,warned,breached,met,cancelled} and targets_restated.
Stores the clocks of each request, under the policy in force when it was opened.
"""
