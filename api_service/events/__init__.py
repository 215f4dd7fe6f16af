"""The log of what changed, as readers of the API see it."""
