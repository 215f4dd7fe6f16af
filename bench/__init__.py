"""How fast TaskHub is, beside what the same machine does at best: `make bench`."""
