"""One file per network; weights in `data/`, each pinned by its SHA-256."""
