"""A digest of the parts of a mail that stay the same on every route.

Duplicates in several mailboxes are recognised by it. Servers add headers on the way (RFC 5321,
section 4.4: `Received`, `Return-Path`; authentication results, seals) and may change line ends; the
author's headers and the body they leave alone.
"""

import hashlib

from ingest.channels.email.mime import Part, headers_end

AUTHOR_HEADERS = frozenset(
    {
        "from", "sender", "reply-to", "to", "cc", "date", "subject", "message-id", "in-reply-to",
        "references", "mime-version", "content-type", "content-transfer-encoding",
    }
)  # fmt: skip
"""The headers that the author's program writes."""
HASH_BYTES = 64 * 1024


def content_digest(mail: Part, raw: bytes) -> str:
    """Return the digest of the author's headers and the body; `mail` is `raw`, parsed."""
    digest = hashlib.sha256()
    for name, value in sorted(
        (name.lower(), " ".join(value.split()))
        for name, value in mail.raw_items()
        if name.lower() in AUTHOR_HEADERS
    ):
        digest.update(f"{name}:{value}\n".encode("utf-8", "surrogatepass"))
    end = len(raw)
    while end and raw[end - 1] in b"\r\n":
        end -= 1
    body = memoryview(raw)[headers_end(raw) : end]
    for at in range(0, len(body), HASH_BYTES):
        digest.update(bytes(body[at : at + HASH_BYTES]).replace(b"\r", b""))
    return digest.hexdigest()
