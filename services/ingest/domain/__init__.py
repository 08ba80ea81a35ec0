"""Intake's rules. Pure: no input or output, clock or ids."""
