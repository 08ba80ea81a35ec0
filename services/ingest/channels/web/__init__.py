"""Web forms and the chat widget."""
