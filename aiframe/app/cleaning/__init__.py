"""Taking away what finished work has left: logs, workspaces, containers, backup refs."""
