"""The dashboard: pages drawn by the server, a small script and one style sheet. There is no build step."""
