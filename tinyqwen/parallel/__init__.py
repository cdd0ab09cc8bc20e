"""Cores: what the machine gives, and work shared among processes."""
