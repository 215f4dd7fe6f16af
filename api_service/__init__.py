"""The API: an asynchronous gRPC server in front of PostgreSQL."""
