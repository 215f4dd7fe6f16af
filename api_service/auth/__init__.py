"""Accounts and tokens: registration, sign-in, sessions, signing keys."""
