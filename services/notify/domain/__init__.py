"""Rules of notify, without I/O: recipients, notifications, outcomes and retries."""
