"""One town for all storms: five services twice, readers in two groups, both servers, the sink."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from faults.town import Town, running_town

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="package")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    with running_town(tmp_path_factory.mktemp("town") / "data") as town:
        yield town
