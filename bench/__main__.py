"""`make bench`: run all, or those named, and print the figures as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from desk import Desk, running_desk  # noqa: E402 (the tests' desk is the bench's too)

from bench import commands, door, intake, matcher, pipeline, projections, relay  # noqa: E402
from bench.bed import bed  # noqa: E402
from trunkline import paths  # noqa: E402

OPERATORS = 40
OF_PARTS = {
    "relay": relay.run,
    "projections": projections.run,
    "intake": intake.run,
    "commands": commands.run,
    "matcher": matcher.run,
}
OF_ALL = {"door": door.run, "pipeline": pipeline.run}


def desk_for_load(desk: Desk) -> Desk:
    """Give the desk many operators with much room, and set them online."""
    from ruamel.yaml import YAML

    from trunkline.instance import EXAMPLE

    workspace = YAML(typ="safe", pure=True).load(EXAMPLE.read_text())
    names = [f"op{n:02d}" for n in range(OPERATORS)]
    for name in names:
        workspace["operators"][name] = {"email": f"{name}@example.test", "limit": 1000}
    workspace["groups"]["first-line"]["operators"] = [
        *workspace["groups"]["first-line"]["operators"],
        *names,
    ]
    workspace["limits"] = {"per_account": "100000/s"}
    told = ["trunkline.tickets.v1.opened", "trunkline.tickets.v1.closed"]
    workspace["webhooks"]["audit"]["events"] = told  # a life is told outside twice
    file = desk.data / "bench.yaml"
    file.write_text(json.dumps(workspace))
    done = desk.run("apply", str(file), check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    desk.online(*names)
    return desk


def main(names: list[str]) -> None:
    """Run, and print."""
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or (*OF_PARTS, *OF_ALL):
            if name in OF_PARTS:
                with bed(Path(folder) / name) as world:
                    figures |= asyncio.run(OF_PARTS[name](world))
                paths.abandon(Path(folder) / name / "nats")
                paths.abandon(Path(folder) / name / "postgres")
            else:
                with running_desk(Path(folder) / name, LOG_LEVEL="WARNING") as desk:
                    figures |= OF_ALL[name](desk_for_load(desk))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
