"""HTTP conventions: problems, paging, health, OpenAPI and AsyncAPI."""
