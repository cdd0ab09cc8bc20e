"""The models: one file a family, and what they share."""
