"""`trunkline demo`: a day at a small help desk, on a separate instance.

`day` plans it, `customers` and `operators` simulate it through the public addresses, `progress`
follows it in the facts, `screen` shows it, and `report` prints the figures at its end.
"""
