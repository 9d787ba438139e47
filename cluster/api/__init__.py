"""The farm's HTTP API, version 1. `app.create` makes it, `server.Server` runs it beside the controller."""
