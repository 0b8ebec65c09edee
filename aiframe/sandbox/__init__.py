"""Where gates run: bubblewrap, a container, or nowhere special. `choose` finds the one that works on this machine."""
