"""The ledger of accepted deliveries, and their outcomes."""
