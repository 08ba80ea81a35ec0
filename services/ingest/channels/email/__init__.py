"""E-mail: MIME, text, quotations, delivery reports, and the parser's processes."""
