"""Strangers' HTML: what may be shown to an operator is kept, everything else is taken out.

Sanitised by ammonia (through `nh3`): no scripts, styles, forms or frames, no address but those of
links and of pictures that came with the mail. A picture from elsewhere tells its owner who reads.
"""

import re

import nh3

DEPTH = 200
"""Elements within elements; the cost of sanitising grows with its square."""
SCHEMES = {"http", "https", "mailto", "tel", "cid"}
_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
_VOID = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
    ]
)


def safe(markup: str, limit: int) -> str | None:
    """Give the markup as it may be shown, or None when it is too much, or nothing is left.

    `limit` is in bytes, of what came and of what is left.
    """
    if not 0 < len(markup.encode(errors="ignore")) <= limit or _depth(markup) > DEPTH:
        return None
    kept = nh3.clean(
        markup.encode(errors="replace").decode(),
        attribute_filter=_addresses,
        url_schemes=SCHEMES,
        url_relative="deny",
    ).strip()
    return kept if 0 < len(kept.encode()) <= limit else None


def _addresses(tag: str, name: str, value: str) -> str | None:
    """Let pictures come from the mail itself, and links go anywhere else."""
    if name in {"src", "href", "cite"}:
        within = value.strip().lower().startswith("cid:")
        return value if within == (tag == "img") else None
    return value


def _depth(markup: str) -> int:
    """Count elements within elements, roughly: never fewer than there are."""
    depth = deepest = 0
    for end, name in _TAG.findall(markup):
        if end:
            depth = max(0, depth - 1)
        elif name.lower() not in _VOID:
            depth += 1
            deepest = max(deepest, depth)
    return deepest
