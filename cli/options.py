"""Options that several commands share, each group a decorator."""

from collections.abc import Callable
from pathlib import Path

import click

PATH = click.Path(path_type=Path)


def output_file(help: str, required: bool = False) -> Callable:
    """Return the option -o."""
    return click.option("-o", "--output", type=PATH, metavar="FILE", required=required, help=help)


def together(*options: Callable) -> Callable:
    """Return one decorator for several options, listed in the help as they are here."""

    def decorate(function: Callable) -> Callable:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


workers = click.option(
    "-j", "--workers", type=click.IntRange(min=0), default=0, metavar="N",
    help="Threads busy in all; 0 (the default): as many as this process may use.",
)
max_image_megapixels = click.option(
    "--max-image-megapixels", type=click.FloatRange(min=0, min_open=True), default=200.0,
    metavar="N", show_default=True, help="Refuse larger images before memory is taken.",
)
quiet = click.option("--quiet", is_flag=True, help="No progress bar and no summary.")
json = click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
strict = click.option("--strict", is_flag=True, help="Exit 3 if anything was skipped.")
timings = click.option("--timings", is_flag=True, help="Say on stderr where the time went.")
wait = click.option(
    "--wait", type=click.FloatRange(min=0), default=10.0, metavar="SECONDS", show_default=True,
    help="How long to wait while another process writes to the index.",
)
min_similarity = click.option(
    "--min-similarity", type=click.FloatRange(-1, 1), metavar="X",
    help="The least cosine that counts, -1 to 1.",
)
model = together(
    click.option("-m", "--model", metavar="NAME", help="The model; `rvcnn models` lists them."),
    click.option("--weights", type=PATH, metavar="FILE",
                 help="A safetensors file; the default is the model that comes with rvcnn."),
    click.option("--precision", type=click.Choice(["fp32"]), help="Arithmetic of the network."),
)
scan = together(
    click.option("--exclude", multiple=True, metavar="GLOB",
                 help="Leave out files and folders of this name (repeatable)."),
    click.option("--include-hidden", is_flag=True, help="Also names that begin with a dot."),
    click.option("-R", "--not-recursive", is_flag=True, help="Only the folder itself."),
)
update = together(
    click.option("--rebuild", is_flag=True, help="Embed every image anew."),
    click.option("--prune", is_flag=True,
                 help="Drop gone images even if more than half of the index would go."),
    wait,
)
form = together(
    click.option("-f", "--filepath-only", is_flag=True, help="Print paths without scores."),
    click.option("-0", "--null", is_flag=True, help="End each result with NUL, not newline."),
    json,
)
