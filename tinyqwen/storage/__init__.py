"""Files that are there whole or not at all; safetensors; Hugging Face folders in and out."""
