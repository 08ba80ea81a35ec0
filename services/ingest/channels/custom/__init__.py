"""Custom channels of integrators."""
