"""`python -m trunkline` is the command."""

from trunkline.cli import app

app()
