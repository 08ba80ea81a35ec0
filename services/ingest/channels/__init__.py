"""Channel parsers, one folder each: a raw delivery becomes items. Pure."""
