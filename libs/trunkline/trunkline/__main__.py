"""`python -m trunkline` runs the command."""

from trunkline.cli import app

app()
