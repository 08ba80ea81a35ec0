"""`python -m trunkline.sink` serves the sink."""

from trunkline.sink.server import main

main()
