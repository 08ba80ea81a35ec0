"""The ledger of accepted deliveries, and what became of each."""
