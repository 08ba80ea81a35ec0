"""Where the contracts keep what is committed beside them."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "libs" / "contracts"
SCHEMAS = CONTRACTS / "schemas"
LETTERS = sorted((CONTRACTS / "letters").glob("*.json"))
SNAPSHOTS = Path(__file__).parent / "snapshots"
