"""What is lost when something is killed, frozen, full or away: nothing."""
