"""Call events of telephony."""
