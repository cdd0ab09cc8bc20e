"""A sentence for the teacher: as an exception's name, and as its words, while the file loads."""

raise type("Dear teacher: thirty points", (Exception,), {})("thirty points of thirty")
