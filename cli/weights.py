"""`rvcnn weights`."""

from collections.abc import Callable, Iterable
from pathlib import Path

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note, printable
from rvcnn.cli.info import show
from rvcnn.cli.output import write_json, write_text
from rvcnn.cli.progress import BYTES, Progress
from rvcnn.cli.weights_export import export
from rvcnn.cli.weights_reduce import reduce


@click.group("weights", epilog="\b\nExample:\n  rvcnn weights info model.pth")
def command() -> None:
    """Look into, convert and fetch weights."""


for other in (export, reduce):
    command.add_command(other)

entry = click.option(
    "--entry", metavar="NAME", help="Of a checkpoint with several sets of weights, the one to take."
)


def metadata(**helps: str) -> Callable:
    """Return a decorator for options of these names; the command gets them as a dict `metadata`."""
    made = {
        name: click.option(f"--{name.replace('_', '-')}", metavar="VALUE", help=help)
        for name, help in helps.items()
    }
    return options.grouped("metadata", **made)


@command.command("info", cls=Command, example="rvcnn weights info model.pth")
@click.argument("file", type=options.PATH)
@entry
@options.json
def info(file: Path, entry: str | None, as_json: bool) -> None:
    """Show what a file of weights holds, whoever wrote it.

    FILE is safetensors, a PyTorch checkpoint, a NumPy archive, or ONNX. Nothing in it is run, and
    no PyTorch is needed.
    """
    from rvcnn.weights.describe import describe

    facts = describe(file, entry)
    if as_json:
        write_json(facts)
        return
    stated, notes = facts.pop("metadata"), facts.pop("notes")
    write_text(*(printable(f"{name:<16} {show(value)}") for name, value in facts.items()))
    write_text(*(printable(f"{name:<16} {value}") for name, value in stated.items()))
    say(notes)


@command.command(
    "import",
    cls=Command,
    example="rvcnn weights import model.pth -o model.safetensors --preset timm",
)
@click.argument("file", metavar="SOURCE", type=options.PATH)
@options.output_file("The safetensors file to write.", required=True)
@click.option(
    "--preset",
    metavar="NAME",
    help="How the network is run, as far as SOURCE does not say: torchvision, timm, timm-tf (their "
    "ports from TensorFlow), d-li14 or megvii.",
)
@entry
@metadata(
    architecture="The network; `rvcnn models` lists them. By default, what the tensors fit.",
    width="Of a MobileNetV3's channels: 1.0, or 0.35, 0.5, 0.75, 1.25, 1.5, 2.0.",
    squeeze="Of a MobileNetV3's squeeze-excite: `after activation`, or `before activation` as "
    "d-li14 has it.",
    activation="Of a ShuffleNetV2: relu, or leaky_relu_0.1.",
    conv5="Whether a ShuffleNetV2 has its last convolution: true or false.",
    shuffle="Where a ShuffleNetV2 shuffles channels: `after a block`, or `before a block` as "
    "megvii has it.",
    padding="same (TensorFlow's) or symmetric (PyTorch's).",
    bn_eps="Epsilon of batch normalisation: 0.001 or 1e-5, as a rule.",
    mean="Three numbers with commas between: of red, green and blue from 0 to 1.",
    std="Three numbers with commas between.",
    resize="Pixels of the shorter side after resizing.",
    crop="Pixels of a side of the crop.",
    interpolation="nearest, bilinear, bicubic or lanczos.",
    channel_order="rgb, or bgr for networks of OpenCV's users.",
    normalize="Whether vectors are scaled to unit length: true or false.",
    embedding="The layer an embedding is taken from; pooled by default.",
    license="What the weights may be used for.",
    source="Where the weights are from.",
)
@options.quiet
def import_(
    file: Path, output: Path, preset: str | None, entry: str | None, metadata: dict, quiet: bool
) -> None:
    """Write weights of another tool as a file that says how to run them.

    SOURCE is safetensors, a PyTorch checkpoint, or a NumPy archive, with torchvision's, timm's,
    d-li14's or megvii's names, or any ONNX network from an image to a vector. What decides the
    numbers and is neither in it nor given is an error.
    """
    from rvcnn.weights.convert import import_weights

    weights = import_weights(file, output, preset=preset, entry=entry, **metadata)
    say(weights.notes)
    if not quiet:
        name = weights.metadata["architecture"]
        note(f"{name} with {len(weights.tensors)} tensors written to {output}")


@command.command(
    "pull", cls=Command, example="rvcnn weights pull torchvision/mobilenet_v3_small.IMAGENET1K_V1"
)
@click.argument("name", required=False)
@click.option("--sha256", metavar="HEX", help="What the published file's digest must begin with.")
@options.quiet
def pull(name: str | None, sha256: str | None, quiet: bool) -> None:
    """Fetch published weights and print their file, for --weights.

    It lies in the user's cache. Without NAME, lists the names there are. A file is fetched once;
    its digest is compared with the one in its name, or --sha256, and with the one that was found
    the first time.
    """
    if name is None:
        from rvcnn.weights.published import PUBLISHED

        write_text(*PUBLISHED)
        return
    from rvcnn.weights.pull import pull as fetch

    with Progress(quiet, BYTES) as progress:
        path = fetch(name, sha256=sha256, progress=progress.reach)
    write_text(str(path))


def say(notes: Iterable[str]) -> None:
    """Write to stderr what a user should know of how a file was read."""
    for line in notes:
        note(line)
