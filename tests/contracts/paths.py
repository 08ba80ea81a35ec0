"""Paths of the committed schemas, sample messages and snapshots."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "libs" / "contracts"
SCHEMAS = CONTRACTS / "schemas"
LETTERS = sorted((CONTRACTS / "letters").glob("*.json"))
SNAPSHOTS = Path(__file__).parent / "snapshots"
