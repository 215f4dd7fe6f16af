"""How often a caller may call: counted in Redis for all processes, spent from a lease in each."""
