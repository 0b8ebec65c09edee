"""What a person can ask of aiframe, one use case a file: the only layer that wires stores, agents and workspaces."""
