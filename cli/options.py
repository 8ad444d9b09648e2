"""Options that several commands share, each a decorator."""

import functools
from collections.abc import Callable
from pathlib import Path

import click

PATH = click.Path(readable=False, path_type=Path)  # what is there, the library finds out


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
    type=click.FloatRange(min=0),
    default=10.0,
    metavar="SECONDS",
    show_default=True,
    help="How long to wait while another process writes to the index.",
)
min_similarity = click.option(
    "--min-similarity",
    type=click.FloatRange(-1, 1),
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
    help="safetensors, a PyTorch checkpoint or .npz; by default, the model of the install.",
)
embedding = click.option(
    "--embedding",
    metavar="LAYER",
    help="The layer that vectors are taken from: pooled, pre_logits, embed, or LAYER pooled, the "
    "mean of a layer's map; by default what the weights say.",
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
    workers=click.option(
        "-j",
        "--workers",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Threads busy in all; 0, the default: as many as this process may use.",
    ),
    max_image_megapixels=click.option(
        "--max-image-megapixels",
        type=click.FloatRange(min=0, min_open=True),
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
form = grouped(
    "form",
    filepath_only=click.option(
        "-f", "--filepath-only", is_flag=True, help="Print paths without scores."
    ),
    null=click.option("-0", "--null", is_flag=True, help="End each result with NUL, not newline."),
    as_json=json,
)
