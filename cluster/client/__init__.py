"""A farm from Python: `FarmClient(url, token)`. It needs nothing of the farm itself; see docs/guide.md."""

from cluster.client.farm import FarmClient

__all__ = ["FarmClient"]
