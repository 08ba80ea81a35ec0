"""hears: tickets' openings, changes, transfers and closings, and people over HTTP
says: who waits in which group, who has which request and why, who is present
keeps: presence, the queue, capacity taken, and every decision with its reasons
"""
