"""Files that come with the install: the embedded model and its card."""
