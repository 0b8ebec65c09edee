"""Ticks on file events and on a timer."""
