"""Everything a mail may say of where it belongs, and what servers may say of its sender."""

from __future__ import annotations

from itertools import product

from mailing import PETRO

from ingest.domain.threading import ELSEWHERE, STRANGER, TORN, UNKNOWN, UNSIGNED

IRYNA = "Iryna <iryna@example.test>"
TAGS = ("none", "signed 1", "older 1", "guessed 1", "signed 2", "signed ?", "guessed ?")
"""Of which conversation the address it was sent to is, and whether its tag is signed."""
NAMES = {
    "none": "",
    "ours 1": "{ours1}",
    "theirs 1": "<1@x>",
    "ours 2": "{ours2}",
    "theirs 2": "<2@x>",
    "mentioned 1": "<0@list>",
    "foreign": "<9@z>",
    "both": "<1@x> {ours2}",
}
"""Which messages it says it answers."""
EVERY = list(product(TAGS, NAMES, (IRYNA, PETRO)))


def wanted(tag: str, names: str, author: str) -> tuple[str, int | None, set[str]]:
    """Say by which rule it belongs where, and what is flagged: the rules in other words."""
    how, _, number = tag.partition(" ")
    tagged_1_or_2 = int(number) if number.isdigit() else None
    named = {"both": {1, 2}, "none": set(), "foreign": set(), "mentioned 1": set()}.get(
        names, {int(names[-1])} if names[-1].isdigit() else set()
    )
    flags = set()
    if how == "guessed":
        flags.add(UNSIGNED)
    if tag == "signed ?":
        flags.add(UNKNOWN)
    if tagged_1_or_2 and named - {tagged_1_or_2}:
        flags.add(ELSEWHERE)
    if len(named) > 1:
        flags.add(TORN)
    if author == PETRO:
        if tagged_1_or_2 or named:
            flags.add(STRANGER)
        return "new", None, flags
    if how in {"signed", "older"} and tagged_1_or_2:
        return "reply_address", tagged_1_or_2, flags
    if names == "both":
        return "our_message_id", 2, flags
    if names.startswith("ours"):
        return "our_message_id", int(names[-1]), flags
    if names.startswith("theirs"):
        return "known_message_id", int(names[-1]), flags
    if how == "guessed" and tagged_1_or_2:
        return "plus_token", tagged_1_or_2, flags
    if names == "mentioned 1":
        return "common_ancestor", 1, flags
    return "new", None, flags


US, FAILED = "mx.desk.test", True
VERDICTS: list[tuple[str, bool]] = [
    (f"{US}; dmarc=fail", FAILED),
    (f"{US}; dmarc=fail (p=reject dis=none) header.from=x.test", FAILED),
    (f"{US}; spf=pass smtp.mailfrom=x.test; dkim=pass header.d=x.test; dmarc=fail", FAILED),
    (f"{US}; dmarc=fail; dmarc=pass", FAILED),
    (f"{US} 1; dmarc=fail", FAILED),
    (f"{US};dmarc=fail", FAILED),
    (f"{US};\r\n\tspf=pass;\r\n\tdmarc=fail", FAILED),
    (f"{US.upper()}; DMARC=FAIL", FAILED),
    (f"{US}; dmarc = fail", FAILED),
    (f"{US}; dmarc=Fail action=none", FAILED),
    (f"  {US} ; dmarc=fail", FAILED),
    (f"{US}; dmarc=pass", not FAILED),
    (f"{US}; dmarc=none", not FAILED),
    (f"{US}; dmarc=temperror", not FAILED),
    (f"{US}; dmarc=permerror", not FAILED),
    (f"{US}; dmarc=bestguesspass", not FAILED),
    (f"{US}; spf=fail; dkim=fail", not FAILED),
    (f"{US}; spf=pass", not FAILED),
    (f"{US}; none", not FAILED),
    (f"{US}", not FAILED),
    (US + "; x-dmarc=fail", not FAILED),
    (f'{US}; dkim=pass reason="no dmarc here"', not FAILED),
    ("", not FAILED),
    (";", not FAILED),
    ("dmarc=fail", not FAILED),
    ("; dmarc=fail", not FAILED),
    ("mx.evil.test; dmarc=fail", not FAILED),
    (f"mx.evil.test; dmarc=fail {US}", not FAILED),
    (f"x{US}; dmarc=fail", not FAILED),
    (f"{US}.evil.test; dmarc=fail", not FAILED),
    (f"sub.{US}; dmarc=fail", not FAILED),
    (f"{US}\x00; dmarc=fail", not FAILED),
    # The name may be quoted, or have a comment or a version beside it.
    (f"{US}\t1; dmarc=fail", FAILED),
    (f"{US}\r\n\t1; dmarc=fail", FAILED),
    (f"{US}(c); dmarc=fail", FAILED),
    (f"{US} (a;b (c) \\) d); dmarc=fail", FAILED),
    (f"(c) {US}; dmarc=fail", FAILED),
    (f'"{US}"; dmarc=fail', FAILED),
    (f'"{US}" 1; dmarc=fail', FAILED),
    ('"mx.desk\\.test"; dmarc=fail', FAILED),
    (f'"x{US}"; dmarc=fail', not FAILED),
    (f'"mx.evil.test"{US}; dmarc=fail', not FAILED),
    (f"(mx.evil.test) {US}; dmarc=fail", FAILED),
    (f"mx.evil.test ({US}); dmarc=fail", not FAILED),
    # So may the method.
    (f"{US}; dmarc/1=fail", FAILED),
    (f"{US}; dmarc / 1 = fail", FAILED),
    (f"{US}; dmarc(c)=fail", FAILED),
    (f"{US}; dmarc=(c) fail", FAILED),
    (f"{US}; (c) dmarc=fail", FAILED),
    (f"{US}; (c;d) dmarc=fail", FAILED),
    (f"{US}; dmarc=fail(p=none)", FAILED),
    (f"{US}; dmarc=\r\n\tfail", FAILED),
    (f"{US}; dmarc=pass; dmarc=fail", FAILED),
    (f"{US}; dmarc=failing", not FAILED),
    (f"{US}; dmarc.x=fail", not FAILED),
    (f"{US}; spf=pass (dmarc=fail elsewhere)", not FAILED),
    (f"{US}; arc=pass (i=2 spf=pass dmarc=fail fromdomain=x.test); dmarc=pass", not FAILED),
    # What the sender chose is written there, too: it hides nothing.
    *(
        (f"{US}; spf=pass smtp.mailfrom={said}@evil.test; dmarc=fail", FAILED)
        for said in (
            '"x dmarc=pass "',
            '"; dmarc=pass"',
            '"\\"; dmarc=pass; \\""',
            '"x\\\\"',
            '"("',
            '"x(y"',
            '"',
            '"x',
            "(",
            "(x",
            "\\",
            '"\\',
            "(\\)",
            "x;dmarc=pass",
            ';dmarc=pass;"',
            '"a"("b',
        )
    ),
    (f'{US}; spf=pass (domain of "x)"@evil.test) smtp.mailfrom="x)"@evil.test; dmarc=fail', FAILED),
    (f'{US}; spf=pass (domain of x"(@evil.test) smtp.mailfrom="x"; dmarc=fail', FAILED),
    (f'{US}; dkim=pass header.d="; dmarc=pass"; dmarc=fail header.from="dmarc=pass"', FAILED),
]
SEVERAL = {
    "ours last": (["mx.evil.test; dmarc=pass", f"{US}; dmarc=fail"], FAILED),
    "ours first": ([f"{US}; dmarc=fail", "mx.evil.test; dmarc=pass"], FAILED),
    "forged below ours": ([f"{US}; dmarc=fail", f"{US}; dmarc=pass"], FAILED),
    "forged below ours, the other way": ([f"{US}; dmarc=pass", f"{US}; dmarc=fail"], FAILED),
    "ours without a word of it": ([f"{US}; spf=pass", f"{US}; dmarc=fail"], FAILED),
    "a header for each method": (
        [f"{US}; spf=pass", f"{US}; dkim=pass", f"{US}; dmarc=fail", f"{US}; arc=none"], FAILED,
    ),
    "forged above ours": ([f"{US}; dmarc=pass", "mx.evil.test; x", f"{US}; dmarc=fail"], FAILED),
    "named in two ways": ([f'"{US}"; dmarc=pass', f"{US.upper()} 1; dmarc=fail"], FAILED),
    "all of ours pass": ([f"{US}; spf=pass", f"{US}; dmarc=pass"], not FAILED),
    "forged by another's name": ([f"{US}; dmarc=pass", "mx.evil.test; dmarc=fail"], not FAILED),
    "many others": ([f"mx{n}.test; dmarc=fail" for n in range(60)], not FAILED),
    "many others, then ours": (
        [f"mx{n}.test; dmarc=pass" for n in range(60)] + [f"{US}; dmarc=fail"], FAILED,
    ),
    "ARC says so": (["x.test; arc=pass"], not FAILED),
}  # fmt: skip
