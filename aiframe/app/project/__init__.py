"""What one look at a project reads and what one decision writes."""
