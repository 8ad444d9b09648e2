"""What tensors tell of their network, where the metadata does not: which one, how many classes."""

from collections.abc import Mapping

Shapes = Mapping[str, tuple[int, ...]]


def identify(shapes: Shapes, metadata: Mapping[str, str]) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return metadata that follows from the shapes and is not given, and a note that says so.

    Parameters
    ----------
    shapes : mapping of str to tuple of int
        By rvcnn's names.
    metadata : mapping of str to str
    """
    if {"architecture", "num_classes"} <= metadata.keys():
        return {}, ()
    from rvcnn.models import ARCHITECTURES

    stated = metadata.get("architecture")
    found = [
        {"architecture": name, **facts, **variant}
        for name, architecture in ARCHITECTURES.items()
        if stated in (None, name)
        for variant in architecture.variants()
        if (facts := _fit(shapes, architecture, variant)) is not None
    ]
    if len(found) != 1:
        return {}, ()
    facts = {key: value for key, value in found[0].items() if key not in metadata}
    told = ", ".join(f"{key} {value}" for key, value in facts.items())
    return facts, (f"from the shapes of its tensors: {told}",) if told else ()


def _fit(shapes, architecture, variant):
    """Metadata of the heads with which an architecture fits the shapes; None if it does not."""
    embedding = shapes["embed.weight"][:1] if "embed.weight" in shapes else ()
    heads = {"embedding_dim": str(embedding[0])} if embedding else {}
    for classes in (0, 1):
        graph = architecture.build(
            padding="symmetric",
            bn_eps=1e-3,
            num_classes=classes,
            embedding_dim=embedding[0] if embedding else 0,
            **architecture.options(variant),
        )
        expected = graph.parameters()
        if expected.keys() != shapes.keys():
            continue
        differing = [key for key in shapes if shapes[key] != expected[key]]
        counts = {shapes[key][:1] for key in differing}
        rest = all(shapes[key][1:] == expected[key][1:] for key in differing)
        if not differing:
            return {"num_classes": str(classes), **heads}
        if classes and rest and len(counts) == 1 and all(expected[k][0] == 1 for k in differing):
            return {"num_classes": str(*counts.pop()), **heads}
    return None
