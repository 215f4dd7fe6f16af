"""The embedded run: every server of TaskHub from wheels, in one folder, without containers."""
