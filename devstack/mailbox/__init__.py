"""A mail server that keeps what it gets instead of delivering it: `python -m devstack.mailbox`."""
