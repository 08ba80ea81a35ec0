"""One transport per channel, over HTTP or SMTP."""
