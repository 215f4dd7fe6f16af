"""How services sign in: a key for a short access token."""
