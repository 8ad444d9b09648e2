"""Update a folder's index, to be killed meanwhile: ``crash_child.py FOLDER SECONDS DTYPE``.

Writes a dot for each image that it embeds.
"""

import os
import sys

from index_fake import FakeEmbedder

from rvcnn.folder import update


class Embedder(FakeEmbedder):
    def embed_pixels(self, pixels):
        vector = super().embed_pixels(pixels)
        os.write(1, b".")
        return vector


folder, seconds, dtype = sys.argv[1], float(sys.argv[2]), sys.argv[3]
print("started", flush=True)
update(folder, Embedder(seconds=seconds), workers=2, commit_seconds=0.03, vectors=dtype)
print("ended", flush=True)
