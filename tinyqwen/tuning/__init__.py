"""What makes a series of one base model: adapters, fewer bits, fewer parts, a teacher."""
