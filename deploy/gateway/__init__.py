"""The REST gateway: Envoy's configuration, derived from the contract. `python -m deploy.gateway` writes it."""
