"""Two ways to a farm, alike for whoever asks: its store, or its server."""
