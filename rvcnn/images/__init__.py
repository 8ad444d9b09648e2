"""Images: decode, orient, resize, normalise."""
