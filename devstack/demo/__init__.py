"""The main job of TaskHub, done through every door against a stack of its own: `make demo`."""
