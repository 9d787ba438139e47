"""Video in, video out: every step from a source file to the finished film. Knows torch and video; no Ray, no jobs."""
