"""What the author of a grader uses: inputs, checks, diagnoses, and mutants that prove them."""
