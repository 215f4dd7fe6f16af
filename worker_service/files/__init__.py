"""Tasks as files: what exports write and imports read, and where the bytes are kept."""
