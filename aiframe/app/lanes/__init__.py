"""Tasks side by side: each in a lane, a project of its own, which is opened, looked after, spoken for and put away."""
