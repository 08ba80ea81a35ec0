"""Promised times: `calendars` says which seconds count, `clocks` folds facts into clocks."""
