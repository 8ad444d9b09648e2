"""Options that several commands share, each a decorator."""

import functools
from collections.abc import Callable
from pathlib import Path

import click


class _Path(click.Path):
    """A path that is not empty: as `Path("")` it would be the current folder."""

    def convert(self, value, param, ctx):
        if value == "":
            self.fail("the path is empty", param, ctx)
        return super().convert(value, param, ctx)


class Number(click.FloatRange):
    """A number in a range, which "nan" is in none of: click takes it for one in all."""

    def convert(self, value, param, ctx):
        found = super().convert(value, param, ctx)
        if found != found:
            self.fail(f"{value} is not in the range {self._describe_range()}", param, ctx)
        return found


PATH = _Path(readable=False, path_type=Path)  # what is there, the library finds out


def grouped(name: str, **options: Callable) -> Callable:
    """Return one decorator for several options; the command gets their values as a dict `name`."""

    def decorate(function: Callable) -> Callable:
        @functools.wraps(function)
        def gather(*args, **values):
            values[name] = {key: values.pop(key) for key in options}
            return function(*args, **values)

        for option in reversed(options.values()):
            gather = option(gather)
        return gather

    return decorate


quiet = click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
strict = click.option("--strict", is_flag=True, help="Exit 3 if anything was skipped.")
timings = click.option("--timings", is_flag=True, help="Say on stderr where the time went.")
wait = click.option(
    "--wait",
    type=Number(min=0),
    default=10.0,
    metavar="SECONDS",
    show_default=True,
    help="How long to wait while another process writes to the index.",
)
min_similarity = click.option(
    "--min-similarity",
    type=Number(-1, 1),
    metavar="X",
    help="The least cosine that counts, -1 to 1.",
)


model = click.option(
    "-m", "--model", metavar="NAME", help="The architecture; `rvcnn models` lists them."
)
weights = click.option(
    "--weights",
    type=PATH,
    metavar="FILE",
    help="safetensors, a PyTorch checkpoint, .npz or ONNX; by default, the install's own model.",
)
embedding = click.option(
    "--embedding",
    metavar="LAYER",
    help="The layer that vectors are taken from: pooled, pre_logits, embed, or LAYER pooled, the "
    "mean of a layer's map; by default what the weights say.",
)


def workers(which: str) -> Callable:
    """Return the option -j, for threads that do what `which` says."""
    return click.option(
        "-j",
        "--workers",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help=f"Threads {which}; 0, the default: as many as this process may use.",
    )


def output_file(help: str, required: bool = False) -> Callable:
    """Return the option -o."""
    return click.option("-o", "--output", type=PATH, metavar="FILE", required=required, help=help)


engine = grouped(
    "engine",
    model=model,
    weights=weights,
    embedding=embedding,
    precision=click.option(
        "--precision",
        type=click.Choice(["fp32", "int8", "auto"]),
        help="Arithmetic of the network; by default that of the index, and fp32 for a new one, for "
        "which `rvcnn embed` chooses with auto.",
    ),
    workers=workers("busy in all"),
    max_image_megapixels=click.option(
        "--max-image-megapixels",
        type=Number(min=0, min_open=True),
        default=200.0,
        metavar="N",
        show_default=True,
        help="Refuse larger images, before memory is taken.",
    ),
)
scan = grouped(
    "filters",
    exclude=click.option(
        "--exclude",
        multiple=True,
        metavar="GLOB",
        help="Leave out files and folders that match (repeatable).",
    ),
    include_hidden=click.option(
        "--include-hidden", is_flag=True, help="Also names that begin with a dot."
    ),
    not_recursive=click.option(
        "-R", "--not-recursive", is_flag=True, help="Only the folder itself."
    ),
)
update = grouped(
    "changes",
    rebuild=click.option(
        "--rebuild", is_flag=True, help="Embed all anew, whatever made the index."
    ),
    vectors=click.option(
        "--vectors",
        type=click.Choice(["float32", "int8"]),
        help="How the index holds vectors: int8 takes half the disk, and a search of it a quarter "
        "of the memory. The default is as it does, and float32 in a new one.",
    ),
    prune=click.option(
        "--prune", is_flag=True, help="Let more than half of the index go if its files are gone."
    ),
    wait=wait,
)
query = grouped(
    "query",
    exact=click.option(
        "--exact", is_flag=True, help="Look at every image, though `embed --ann` made a graph."
    ),
    away=click.option(
        "--not",
        "away",
        multiple=True,
        type=PATH,
        metavar="IMAGE",
        help="Push results away from IMAGE (repeatable).",
    ),
    vector=click.option(
        "--vector",
        type=PATH,
        metavar="FILE",
        help="Search for a vector: .npy, or JSON, of FILE or of the standard input (-).",
    ),
    row=click.option(
        "--row",
        type=click.IntRange(min=0),
        metavar="N",
        help="Which row of --vector, from 0.",
    ),
    crop=click.option(
        "--crop",
        metavar="X,Y,W,H",
        help="Search for that part of QUERY: in pixels of the upright image or, with a decimal "
        "point, in fractions.",
    ),
)
wanted = grouped(
    "wanted",
    where=click.option(
        "--where",
        multiple=True,
        metavar="FILTER",
        help="Only images for which it is true, as \"species = 'fox' and year >= 2020\".",
    ),
    newer=click.option(
        "--newer", metavar="DATE|AGE", help="Only files changed since: 2026-03-01, or 7d ago."
    ),
    older=click.option("--older", metavar="DATE|AGE", help="Only files changed before."),
    path_glob=click.option(
        "--path-glob",
        multiple=True,
        metavar="GLOB",
        help="Only files whose name matches; with / in it, the path in the index (repeatable).",
    ),
    min_width=click.option(
        "--min-width", type=click.IntRange(min=0), metavar="N", help="Only images as wide."
    ),
    min_height=click.option(
        "--min-height", type=click.IntRange(min=0), metavar="N", help="Only images as high."
    ),
)
form = grouped(
    "form",
    filepath_only=click.option(
        "-f", "--filepath-only", is_flag=True, help="Print paths without scores."
    ),
    null=click.option("-0", "--null", is_flag=True, help="End each result with NUL, not newline."),
    as_json=json,
)
