"""Decisions: the events that follow from a command or from a fact of another service.

A command may be refused: it raises `Refused` or `Invalid`. The `on_` functions apply facts of other
services, which have already happened: a late or repeated fact has no effect, and none is refused.
"""
