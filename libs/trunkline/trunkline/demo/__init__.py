"""`trunkline demo`: a day at a small desk, on an instance of its own.

`day` plans it · `customers` and `operators` live it, by the doors and the API everybody uses ·
`scene` is what can be seen of it in the facts · `screen` shows that · `figures` says how it ended.
"""
