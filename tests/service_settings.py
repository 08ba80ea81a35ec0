"""The settings class of each service: its own, or that of the chassis."""

from __future__ import annotations

import importlib
import importlib.util

from chassis.settings import Settings


def settings_class(service: str) -> type[Settings]:
    """Return the class with which a service reads its settings."""
    if importlib.util.find_spec(f"{service}.settings") is None:
        return Settings
    kind: type[Settings] = importlib.import_module(f"{service}.settings").Settings
    return kind
