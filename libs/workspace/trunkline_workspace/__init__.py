"""The vocabulary of the workspace document: pure, no input or output."""
