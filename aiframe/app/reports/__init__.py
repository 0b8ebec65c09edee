"""What people read: the panel, logs, histories, reports, notices, and what the machine lacks."""
