"""setuptools' build backend, by which a source distribution holds the tests and what they need.

setuptools knows but one place for the list of such files, which is the root.
"""

from setuptools.build_meta import *  # noqa: F403
from setuptools.command.egg_info import manifest_maker

manifest_maker.template = ".ci/MANIFEST.in"
