"""All that imports Prefect: flows, engines, servers and what its page shows."""
