"""What accounts of people and of services have in common."""
