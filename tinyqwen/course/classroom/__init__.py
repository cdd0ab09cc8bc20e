"""What a teacher uses: a class graded, its pages, and the formats of other tools."""
