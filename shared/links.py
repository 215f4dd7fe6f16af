"""What links in mails are for: part of what the signature of each covers, so that none opens what another is for."""

from __future__ import annotations

#: Makes an account of a registration.
VERIFY_EMAIL = "verify-email"
#: Gives an account, or an address with pending registrations, a password.
RESET_PASSWORD = "reset-password"  # noqa: S105  a name
#: Gives an account another address.
CHANGE_EMAIL = "change-email"
