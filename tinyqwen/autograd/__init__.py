"""What a gradient is: tensors, the tape, and the elementary operations with their VJPs."""
