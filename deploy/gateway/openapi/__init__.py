"""The REST contract as OpenAPI 3.1: `python -m deploy.gateway.openapi` derives it from the .proto files."""
