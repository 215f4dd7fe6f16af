"""What it takes to put TaskHub somewhere: the REST gateway, the chart, the dashboards."""
