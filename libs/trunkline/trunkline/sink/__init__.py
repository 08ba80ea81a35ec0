"""The sink: a local replacement for the platforms, webhook receivers and mail servers."""
