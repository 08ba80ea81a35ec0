"""E-mail: threads, composition, acknowledgements and suppressed addresses."""
