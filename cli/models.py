"""`rvcnn models`."""

import click

from rvcnn.cli import options
from rvcnn.cli.boundary import Command
from rvcnn.cli.output import write_json, write_text

_LINE = "{:<30}  {:>10}  {:>13}  {:>5}  {}"


@click.command("models", cls=Command, example="rvcnn models")
@options.json
def command(as_json: bool) -> None:
    """List the architectures that -m/--model takes.

    Below each stand the published weights that `rvcnn weights pull` knows. Parameters and
    multiply-adds are those of the network with 1000 classes. Embeddings are the layers that one is
    usually taken from, with the values it has. What `rvcnn bench` found on this machine is shown
    with its day and the version of rvcnn.
    """
    from rvcnn import list_models
    from rvcnn.models.facts import facts

    weights, times = _published(), _measured()
    models = [
        facts(name)._asdict() | {"weights": weights.get(name, []), "measured": times.get(name, [])}
        for name in list_models()
    ]
    if as_json:
        write_json(*models)
        return
    write_text(_LINE.format("model", "parameters", "multiply-adds", "input", "embeddings"))
    for model in models:
        values = [f"{model[key]:,}" for key in ("parameters", "multiply_adds")]
        layers = ", ".join(f"{layer} {size}" for layer, size in model["embeddings"].items())
        write_text(_LINE.format(model["model"], *values, model["input_size"], layers))
        write_text(*map(_time, model["measured"]))
        write_text(*(f"  {file['name']}  {file['license']}" for file in model["weights"]))


def _published() -> dict[str, list[dict[str, str]]]:
    """Return what `rvcnn weights pull` takes, with licence and source, by architecture."""
    from rvcnn.weights.published import PUBLISHED

    found = {}
    for name, file in PUBLISHED.items():
        facts = {"name": name, "license": file.metadata["license"], "source": file.url}
        found.setdefault(file.metadata["architecture"], []).append(facts)
    return found


def _measured() -> dict[str, list[dict]]:
    """Return what was measured on this machine, by architecture."""
    from rvcnn.measured import measured_here

    found = {}
    for row in sorted(measured_here()):
        found.setdefault(row.model, []).append(row._asdict())
    return found


def _time(row: dict) -> str:
    size = row["input_size"]
    return (
        f"  {row['image_ms']:.2f} ms an image of {size} x {size} in {row['precision']}, one thread "
        f"of this machine ({row['date']}, rvcnn {row['version']})"
    )
