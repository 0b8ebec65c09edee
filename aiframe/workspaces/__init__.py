"""Where attempts work: the project's own folder and its git repository, never trusting what an agent left there.

A *date* is in epoch seconds, and stands on the commits and refs that are written. All that asks git for something may
raise GitError; docstrings name what else.
"""
