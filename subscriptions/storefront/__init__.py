"""What customers see and do."""
