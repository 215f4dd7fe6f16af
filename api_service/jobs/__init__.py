"""Background jobs, as callers see them. What runs them is `worker_service`."""
