"""The trusted certificates, read once per process, because reading them takes 50 ms."""

import ssl
from functools import cache

import httpx


@cache
def trusted_certificates() -> ssl.SSLContext:
    """Return the TLS context shared by all HTTPS clients; do not change it."""
    return httpx.create_ssl_context(trust_env=False)
