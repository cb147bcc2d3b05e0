"""What is asked of an image: one folder per task, found by name."""
