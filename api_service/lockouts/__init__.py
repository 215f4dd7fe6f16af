"""What must not be tried without bound: guessing passwords, and sending mail to strangers."""
