"""The rules, and nothing else: the standard library only, no clock, no files, no processes."""
