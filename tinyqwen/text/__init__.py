"""Text as streams of documents, and as tokens."""
