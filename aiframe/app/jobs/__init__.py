"""Jobs: tasks whose work is commands. One run works off as many as are ready, several at a time."""
