"""What is allowed and what follows: a request decides, then applies; only deciding may refuse."""
