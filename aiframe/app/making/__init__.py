"""New frames and projects, and the demo."""
