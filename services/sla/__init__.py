"""Hears every fact of a request (TICKETS); of ROUTING's presence only the position, for now.
Says target_set, target_warned, target_breached, target_met, target_cancelled, targets_restated.
Keeps each request's clocks: a pure fold of its facts under the policy in force when it was opened.
"""
