"""`rvcnn weights export`."""

from pathlib import Path

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note


@click.command(
    "export", cls=Command, example="rvcnn weights export -o model.onnx --preprocess normalize"
)
@options.output_file("The ONNX file to write.", required=True)
@options.model
@options.weights
@options.embedding
@click.option("--logits", is_flag=True, help="The classifier's output, not an embedding.")
@click.option(
    "--input-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Side of the images in pixels; by default what the weights say.",
)
@click.option("--any-size", is_flag=True, help="Leave the size of the images open.")
@click.option(
    "--preprocess",
    type=click.Choice(["normalize", "resize"]),
    help="Take bytes, (N, H, W, 3): of images that are resized and cropped already, or of any size "
    "with resizing and cropping inside.",
)
@click.option(
    "--postprocess", is_flag=True, help="Embeddings at unit length; of logits, probabilities."
)
@options.quiet
def export(
    output: Path,
    model: str | None,
    weights: Path | None,
    embedding: str | None,
    logits: bool,
    input_size: int | None,
    any_size: bool,
    preprocess: str | None,
    postprocess: bool,
    quiet: bool,
) -> None:
    """Write a network as ONNX, in fp32, for other engines.

    Without --weights, the model that comes with rvcnn. The input is (N, 3, H, W) float32,
    normalised, for any number of images N. Needs the package onnx.
    """
    from rvcnn import create_model, export_onnx
    from rvcnn.paths import check_output

    if logits and embedding:
        raise click.UsageError("--logits is the classifier's output, --embedding another layer's")
    check_output(output, ".onnx")
    network = create_model(
        model, weights=weights, num_classes=None if logits else 0, embedding=embedding
    )
    if logits and not network.is_classifier:
        raise click.UsageError(f"{network.weights.source} has no classifier: leave --logits out")
    export_onnx(
        network,
        output,
        size=input_size,
        any_size=any_size,
        preprocess=preprocess,
        postprocess=postprocess,
    )
    if not quiet:
        for line in network.weights.notes:
            note(line)
        note(f"{network.architecture.name}, {network.dim} values an image, written to {output}")
