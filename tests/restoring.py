"""Set a test's NATS server, or a service's tables, back to an older state."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from world import World

TABLES = """
SELECT relname FROM pg_class WHERE relnamespace = %s::regnamespace AND relkind = 'r'
    AND relname NOT LIKE '%%yoyo%%' AND relname NOT LIKE 'older_%%'"""


def shell(command: str) -> None:
    subprocess.run(["bash", "-euc", command], check=True)


@dataclass(frozen=True)
class StoreBackup:
    """A copy of a NATS server's streams, taken while nobody writes."""

    world: World
    copy: Path

    @classmethod
    def take(cls, world: World, name: str = "backup") -> StoreBackup:
        copy = world.data / name
        shell(f"mkdir -p {copy} && cp -a {world.nats.store}/jetstream {copy}/")
        return cls(world, copy)

    def restore(self) -> None:
        """Stop the server, put the copy in the place of its streams, and start it again."""
        store = self.world.nats.store
        self.world.nats.stop()
        shell(f"rm -rf {store}/jetstream && cp -a {self.copy}/jetstream {store}/")
        self.world.nats.start()


async def copy_tables(world: World, service: str) -> list[str]:
    """Keep a copy of a service's tables beside them; return their names."""
    names = [name for (name,) in await world.sql(service, TABLES, service)]
    for name in names:
        await world.sql(service, f"CREATE TABLE older_{name} AS TABLE {name}")
    return names


async def copy_back(world: World, service: str, names: list[str]) -> None:
    """Put the copies in the place of what the tables have now, all at once."""
    rows = "".join(f"INSERT INTO {name} SELECT * FROM older_{name};" for name in names)
    await world.sql(
        service,
        f"DO $$ BEGIN SET LOCAL session_replication_role = replica;"
        f" TRUNCATE {', '.join(names)} CASCADE; {rows} END $$",
    )
