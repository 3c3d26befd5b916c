"""Pure: the table, its models and their releases; no network, clock or environment."""
