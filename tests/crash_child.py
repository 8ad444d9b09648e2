"""Update a folder's index, to be killed meanwhile: ``crash_child.py FOLDER SECONDS DTYPE``."""

import sys

from index_fake import FakeEmbedder

from rvcnn.folder import update

folder, seconds, dtype = sys.argv[1], float(sys.argv[2]), sys.argv[3]
print("started", flush=True)
update(folder, FakeEmbedder(seconds=seconds), workers=2, commit_seconds=0.03, vectors=dtype)
print("ended", flush=True)
