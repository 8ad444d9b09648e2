"""`rvcnn bench`."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.console import note
from rvcnn.cli.output import write_json, write_text

if TYPE_CHECKING:
    from rvcnn.bench import LayerTime, Report


@click.command("bench", cls=Command, example="rvcnn bench --threads 2")
@click.option("-m", "--model", metavar="NAME", help="The architecture; `rvcnn models` lists them.")
@click.option(
    "--weights",
    type=options.PATH,
    metavar="FILE",
    help="A weights file; without it the model that comes with rvcnn, or -m with random ones.",
)
@click.option(
    "--precision",
    type=click.Choice(["fp32", "int8"]),
    default="fp32",
    show_default=True,
    help="Arithmetic of the network; int8 needs weights made for it, or takes rvcnn's own.",
)
@click.option(
    "--input-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Side of the image in pixels; by default what the model is made for.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    default=1,
    metavar="N",
    show_default=True,
    help="Threads of the figures for the whole network; 0: as many as this process may use.",
)
@click.option(
    "--tune", is_flag=True, help="First choose the tiles of matrix products by measuring them."
)
@options.json
def command(
    model: str | None,
    weights: Path | None,
    precision: str,
    input_size: int | None,
    threads: int,
    tune: bool,
    as_json: bool,
) -> None:
    """Measure how fast this machine runs a network, layer by layer.

    Each layer on one thread, its share of the peak (what registers alone allow, measured in the
    same run), then the whole network, which `rvcnn models` shows from then on.
    """
    from rvcnn import bench, create_model, measured

    if tune:
        _tune()
    network = create_model(
        model,
        weights="random" if model and not weights else weights,
        precision=precision,
        threads=threads,
    )
    note("measuring for some seconds; kernels that are not in the cache are compiled first")
    report = bench.measure(network, input_size, network.threads)
    measured.remember(report)
    if as_json:
        write_json(*map(_layer, report.layers), _whole(report))
    else:
        write_text(*_table(report), "", *_summary(report))


def _tune() -> None:
    from rvcnn.tune import tune

    trials = tune(progress=lambda name: note(f"compiling tile {name}"))
    for trial in trials:
        note(f"tile {trial.name:<6} {trial.seconds * 1e3:7.2f} ms")
    note(f"tile {trials[0].name} is used from now on; results stay the same")


HEADINGS = ("layer", "output", "us", "G/s", "% of peak", "kernels")


def _layer(time: "LayerTime") -> dict:
    return {
        "layer": time.layer.name,
        "output": list(time.layer.output),
        "us": time.microseconds,
        "gflops": time.gflops,
        "percent_of_peak": time.percent_of_peak,
        "kernels": time.layer.kernels,
    }


def _whole(report: "Report") -> dict:
    facts = report._asdict()
    del facts["layers"]
    return facts


def _table(report: "Report") -> Iterator[str]:
    width = max(len(time.layer.name) for time in report.layers)
    line = f"{{:<{width}}}  {{:<11}}  {{:>7}}  {{:>7}}  {{:>9}}  {{}}"
    yield line.format(*HEADINGS)
    for layer, *numbers in report.layers:
        shown = ("" if number is None else f"{number:.1f}" for number in numbers)
        shape = "x".join(map(str, layer.output))
        yield line.format(layer.name, shape, *shown, " ".join(layer.kernels))


def _summary(report: "Report") -> Iterator[str]:
    unit = "GFLOP/s" if report.precision == "fp32" else "GOP/s"
    yield (
        f"one thread: {report.image_ms:.2f} ms an image; registers alone allow "
        f"{report.peak_gflops:.0f} {unit}"
    )
    if report.threads > 1:
        yield (
            f"{report.threads} threads: {report.image_ms_threads:.2f} ms an image together; "
            f"registers alone allow {report.peak_gflops_threads:.0f} {unit}"
        )
    yield f"a stream of images: {report.images_per_second:.0f} images/s"
