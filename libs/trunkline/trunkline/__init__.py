"""The command `trunkline`, the embedded servers it starts, and the sink."""
