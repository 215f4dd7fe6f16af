"""Accounts of services, and their keys."""
