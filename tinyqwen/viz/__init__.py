"""The pictures. Every function draws one message and returns a matplotlib Figure."""
