"""The dashboard: pages drawn by the server, one small script, one style sheet. No build step, nothing from elsewhere."""
