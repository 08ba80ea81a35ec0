"""The certificates that are trusted, read once per process: reading them takes 50 ms."""

import ssl
from functools import cache

import httpx


@cache
def trusted_certificates() -> ssl.SSLContext:
    """What every client that asks by https checks servers with; nobody may change it."""
    return httpx.create_ssl_context(trust_env=False)
