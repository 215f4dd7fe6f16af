"""What an account is signed in with, its password and its address, and how its owner changes them."""
