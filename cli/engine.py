"""The embedder that a command works with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rvcnn.cli.console import debugging, note

if TYPE_CHECKING:
    from rvcnn.embedder import Embedder
    from rvcnn.place import Place


COMPILE_SECONDS = 15  # of one core, about
PAIRS_SECONDS = 3


def make_embedder(
    *,
    max_image_megapixels: float = 200,
    quiet: bool = False,
    folders: Sequence[Path] | None = None,
    places: Sequence["Place"] = (),
    search: bool = True,
    **engine,
) -> "Embedder":
    """Make the embedder that the options name; compile its kernels now if they are not yet.

    Those of search too, unless the command has no use for them.

    What they leave open is as in the index of the first of ``folders``, or of ``places``, whose
    vectors must all be this embedder's: said before anything is compiled.
    """
    quiet_libraries()
    from rvcnn import Embedder
    from rvcnn.place import made_with

    if folders is None and places:
        folders = [place.folder for place in places]
    known = {} if folders is None else made_with(folders)
    if engine.get("model") or engine.get("weights"):
        known = {"precision": known.get("precision", "fp32")}
    given = {key: value for key, value in engine.items() if value not in (None, "auto")}
    engine = {"precision": "fp32", **known, **given}
    embedder = Embedder(**engine, max_megapixels=max_image_megapixels)
    if not quiet:
        for line in embedder.notes:
            note(f"{engine['weights']}: {line}")
    for place in places:
        place.check_made_by(embedder)
    compile_kernels(embedder, quiet, search)
    return embedder


def compile_kernels(embedder: "Embedder", quiet: bool, search: bool = True) -> None:
    """Compile what is not in the cache, after a line that says so."""
    from rvcnn.warmup import is_compiled, warmup

    if not is_compiled(embedder, search):
        if not quiet:
            _tell_compiling("kernels", COMPILE_SECONDS)
        warmup(embedder, search=search)


def compile_pairs(quiet: bool) -> None:
    """Compile the kernel that finds pairs of vectors, after a line that says so."""
    from rvcnn.kernels import near_pairs

    kernel = near_pairs.kernel_for()
    if not kernel.is_cached() and not quiet:
        _tell_compiling("a kernel", PAIRS_SECONDS)
    kernel.load()


def _tell_compiling(what: str, seconds: int) -> None:
    from rvcnn.warmup import cache_problem

    problem = cache_problem()
    if problem is None:
        note(f"compiling {what} for this CPU (once; about {seconds} s)")
    else:
        note(f"compiling {what} for this CPU (about {seconds} s): {problem}")


def build_graph(folder: Path, workers: int, wait: float, quiet: bool) -> None:
    """Build the graph of a folder's index, and say what takes time."""
    from time import monotonic

    from rvcnn import place

    index, start = place.open_place(folder).index, monotonic()

    def told(step):
        if not quiet:
            note(f"{folder}: {step}")

    if index.build_ann(workers=workers, wait=wait, note=told):
        told(f"the graph of {len(index)} images is ready, after {monotonic() - start:.0f} s")


def quiet_libraries() -> None:
    """Keep off stderr what image libraries print on their own, until the command ends."""
    import logging

    from rvcnn.images.chatter import silence_c_libraries

    if not debugging():
        logging.getLogger("PIL").addHandler(logging.NullHandler())
        click.get_current_context().with_resource(silence_c_libraries())
