"""Generation."""


class GenerationMixin:
    """placeholder being written"""
