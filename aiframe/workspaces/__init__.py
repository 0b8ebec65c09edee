"""Where attempts work: the project's own folder and its git repository, never trusting what an agent left there."""
