"""rvcnn: images in, searchable vectors out, on an ordinary CPU."""
