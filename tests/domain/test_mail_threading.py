"""Where a mail belongs, for everything it may say of that at once; and whose verdicts count."""

from __future__ import annotations

import pytest
from mail_corpus.belonging import SEVERAL, VERDICTS
from mailing import BOX, mail, read

from ingest.channels.email import mailbox
from ingest.domain.threading import UNPROVEN


def heard(values: list[str]) -> str | None:
    lines = "".join(f"Authentication-Results: {value}\r\n" for value in values)
    item = mailbox.opened(read(lines.encode() + mail()), BOX)
    assert item.thread is not None
    return item.thread.doubt


@pytest.mark.parametrize(("value", "failed"), VERDICTS, ids=[v for v, _ in VERDICTS])
def test_what_our_own_server_says_counts(value: str, failed: bool) -> None:
    assert heard([value]) == (UNPROVEN if failed else None)


@pytest.mark.parametrize("which", SEVERAL)
def test_of_several_ours_counts(which: str) -> None:
    values, failed = SEVERAL[which]
    assert heard(values) == (UNPROVEN if failed else None)
