"""Carries out the jobs that TaskHub has promised: claims them from PostgreSQL and runs them; and turns the loops."""
