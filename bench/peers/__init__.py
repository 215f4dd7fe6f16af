"""What TaskHub is measured against."""
