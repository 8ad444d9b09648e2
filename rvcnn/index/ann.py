"""Making the graph of an index and putting it in place; checking those that are there."""

from collections.abc import Callable
from contextlib import closing

from rvcnn.index import build, seal
from rvcnn.index.files import Home, told
from rvcnn.index.formats import Rows
from rvcnn.index.graph import (
    FOLDER,
    Graph,
    Header,
    clear_graphs,
    digest_holds,
    digest_of,
    graph_files,
    read_header,
    write_graph,
)
from rvcnn.index.snapshot import Source
from rvcnn.index.store import Store

FEWEST = 2
"""Rows that a graph has at least."""


def build_ann(
    home: Home,
    source: Source,
    degree: int,
    breadth: int,
    workers: int,
    wait: float,
    note: Callable[[str], None],
) -> bool:
    """Build the graph of all rows and put it in place; whether there was anything to do.

    Readers and writers go on meanwhile. What is added or removed until it is done is found too.
    """
    settings = {"degree": degree, "breadth": breadth}
    while True:
        with source.snapshot() as now:
            state, vectors, metric = now.state, now.all_vectors, now.manifest.metric
            walk = now.walk()
        if state.rows < FEWEST:
            return False
        if walk and walk.header.rows == state.rows and walk.header.settings == settings:
            return False
        made = build.build(
            vectors, state.generation, state.rows, metric, **settings, workers=workers, note=note
        )
        with closing(Store(home, wait)) as store:
            if store.state.generation == state.generation:  # else it was compacted: once more
                _publish(store, *made)
                return True


def _publish(store: Store, header: Header, graph: Graph) -> None:
    """Write a graph, and a commit by which readers see it."""
    with store.guard, told(store.home):
        store.check_place()
        write_graph(store.home, header, graph)
        seal.break_open(store.home.location)
        store.connection.execute("BEGIN IMMEDIATE")
        store.commit()
        clear_graphs(store.home, header.generation, store.state.rows)


def faults_of_graphs(home: Home, vectors: Rows, generation: int) -> list[str]:
    """Return what is wrong with the files of graphs, one line for each."""
    faults = []
    for path, numbers in graph_files(home).items():
        if numbers is None:
            continue
        try:
            header = read_header(path)
            if not digest_holds(path):
                fault = "is not as it was written"
            elif (header.generation, header.rows) != numbers:
                fault = "is not what its name says"
            elif generation == header.generation and (
                header.rows > vectors.count or digest_of(vectors, header.rows) != header.digest
            ):
                fault = "was built from other vectors"
            else:
                continue
        except (OSError, ValueError, RecursionError) as error:
            fault = f"cannot be read: {error}"
        faults.append(f"{FOLDER}/{path.name} {fault}")
    return faults


def drop_graphs(home: Home, vectors: Rows, generation: int) -> bool:
    """Delete all graphs unless every one is sound; whether they were."""
    sound = not faults_of_graphs(home, vectors, generation)
    if not sound:
        clear_graphs(home, -1, 0)
    return sound
