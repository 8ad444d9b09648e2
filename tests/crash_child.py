"""A process that updates a folder's index, to be killed: ``crash_child.py FOLDER SECONDS``."""

import sys

from index_fake import FakeEmbedder

from rvcnn.folder import update

folder, seconds = sys.argv[1], float(sys.argv[2])
print("started", flush=True)
update(folder, FakeEmbedder(seconds=seconds), workers=2, commit_seconds=0.03)
print("ended", flush=True)
