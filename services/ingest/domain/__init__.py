"""Rules of intake, pure: no I/O, clock or ids."""
