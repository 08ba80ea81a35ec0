"""The bell: an operator's list of notifications inside the product."""
