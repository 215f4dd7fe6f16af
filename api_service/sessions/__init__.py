"""Sessions: what a sign-in opens, a refresh token keeps alive, and its owner can look at and end."""
