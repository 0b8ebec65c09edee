"""An attempt at a task, stage by stage: from a place to work in to work that is kept."""
