"""Turn stored deliveries into facts, in one transaction each batch."""
