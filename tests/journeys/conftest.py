"""One running instance for the stories that do not disturb each other."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from desk import Desk, running_desk

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    """All five processes, the sink and both servers."""
    data = tmp_path_factory.mktemp("desk") / "data"
    with running_desk(data, WEBHOOK_NETWORKS="127.0.0.0/8") as desk:
        yield desk
