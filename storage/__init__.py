"""Objects in, objects out: a folder, or a bucket behind S3. No video, no Ray."""
