"""The tables every service's schema gets, as plain SQL: `every` for all, `outbox` unless a service has its own log."""
