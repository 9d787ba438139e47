"""A farm from Python: `cluster.client.farm.FarmClient(url, token)`. It needs nothing of the farm itself; see
docs/guide.md."""
