"""Transports: one for each channel, over HTTP or SMTP, and the egress policy."""
