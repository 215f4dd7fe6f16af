"""The bare limits: what grpc.aio and psycopg do when there is nothing else to do."""
