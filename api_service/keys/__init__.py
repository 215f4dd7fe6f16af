"""Signing keys: how they are made, followed, rotated and revoked."""
