"""Parsers, one folder per channel: a raw delivery becomes items. Pure."""
