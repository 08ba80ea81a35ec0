"""Applying workspaces from the command line."""
