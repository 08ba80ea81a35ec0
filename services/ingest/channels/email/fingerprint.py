"""What of a mail stays as it is on every way it takes: by that it is known in several mailboxes.

Servers add headers as a mail goes by (RFC 5321, section 4.4: `Received`, `Return-Path`; verdicts,
seals), and may write line ends anew; what its author's program wrote they leave alone.
"""

import hashlib

from ingest.channels.email.mime import Part, end_of_headers

WRITTEN = frozenset(
    {
        "from", "sender", "reply-to", "to", "cc", "date", "subject", "message-id", "in-reply-to",
        "references", "mime-version", "content-type", "content-transfer-encoding",
    }
)  # fmt: skip
"""The headers an author's program writes."""
PIECE = 64 * 1024


def content_of(mail: Part, raw: bytes) -> str:
    """Give the digest of what its author wrote, `mail` being `raw` taken apart."""
    digest = hashlib.sha256()
    for name, value in sorted(
        (name.lower(), " ".join(value.split()))
        for name, value in mail.raw_items()
        if name.lower() in WRITTEN
    ):
        digest.update(f"{name}:{value}\n".encode("utf-8", "surrogatepass"))
    end = len(raw)
    while end and raw[end - 1] in b"\r\n":
        end -= 1
    body = memoryview(raw)[end_of_headers(raw) : end]
    for at in range(0, len(body), PIECE):
        digest.update(bytes(body[at : at + PIECE]).replace(b"\r", b""))
    return digest.hexdigest()
