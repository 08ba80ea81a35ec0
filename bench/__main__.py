"""`make bench`: run all benchmarks, or the named ones, and print the figures as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from desk import Desk, running_desk  # noqa: E402 (the benchmarks use the tests' instance)

from bench import commands, gateway, intake, matcher, pipeline, projections, relay  # noqa: E402
from bench.bed import bed  # noqa: E402
from trunkline import paths  # noqa: E402

OPERATORS = 40
PARTS = {
    "relay": relay.run,
    "projections": projections.run,
    "intake": intake.run,
    "commands": commands.run,
    "matcher": matcher.run,
}
WHOLE_INSTANCE = {"gateway": gateway.run, "pipeline": pipeline.run}


def prepare_for_load(desk: Desk) -> Desk:
    """Add many operators with a high limit to the instance, and set them online."""
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
    # Two webhook deliveries per life.
    events = ["trunkline.tickets.v1.opened", "trunkline.tickets.v1.closed"]
    workspace["webhooks"]["audit"]["events"] = events
    file = desk.data / "bench.yaml"
    file.write_text(json.dumps(workspace))
    done = desk.run("apply", str(file), check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    desk.online(*names)
    return desk


def main(names: list[str]) -> None:
    """Run the benchmarks and print their figures."""
    figures: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in names or (*PARTS, *WHOLE_INSTANCE):
            if name in PARTS:
                with bed(Path(folder) / name) as world:
                    figures |= asyncio.run(PARTS[name](world))
                paths.remove(Path(folder) / name / "nats")
                paths.remove(Path(folder) / name / "postgres")
            else:
                with running_desk(Path(folder) / name, LOG_LEVEL="WARNING") as desk:
                    figures |= WHOLE_INSTANCE[name](prepare_for_load(desk))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main(sys.argv[1:])
