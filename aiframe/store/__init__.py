"""The files of a project: the only place that writes them."""
