"""Pure rules: business hours, and the clocks of a request computed from its facts."""
