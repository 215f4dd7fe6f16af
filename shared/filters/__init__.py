"""Filters after AIP-160: text → syntax tree (`syntax`) → SQL with bound values (`fields`), for tasks (`tasks`)."""
