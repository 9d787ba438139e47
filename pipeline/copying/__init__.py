"""Groups of pictures in which nobody is seen keep the source's own bits: see `groups`, `clean`, `splice`."""
