"""Pure rules: a decision returns events or refuses; applying an event never fails."""
