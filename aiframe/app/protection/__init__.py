"""What keeps agents and checks within their bounds, and secrets out of what is written."""
