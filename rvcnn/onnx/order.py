"""An order in which nodes can run."""

import heapq

from rvcnn.weights.contents import Refusal, shown

from .network import Network, Node


def reads(node: Node) -> set[str]:
    """Names of the values that a node reads, in the graphs among its attributes too."""
    names = {name for name in node.inputs if name}
    for value in node.attributes.values():
        for graph in value if isinstance(value, tuple) else (value,):
            if isinstance(graph, Network):
                own = {v.name for v in graph.inputs} | graph.constants.keys()
                own |= {name for n in graph.nodes for name in n.outputs}
                names |= {name for n in graph.nodes for name in reads(n)} - own
                names |= {v.name for v in graph.outputs} - own
    return names


def ordered(nodes, given) -> tuple[Node, ...]:
    """The nodes, each after those whose results it reads, else in the order they came in.

    Parameters
    ----------
    nodes : sequence of Node
    given : set of str
        Values that are there at the beginning.

    Raises
    ------
    Refusal
        If a node reads what nothing makes, or nodes wait for each other.
    """
    makers = {name: i for i, node in enumerate(nodes) for name in node.outputs if name}
    waits, readers = [], [[] for _ in nodes]
    for i, node in enumerate(nodes):
        wanted = reads(node) - given
        lost = sorted(wanted - makers.keys())
        if lost:
            raise Refusal(f"nothing makes {shown(lost[0])}, which node {shown(node.name)} reads")
        before = {makers[name] for name in wanted}
        waits.append(len(before))
        for j in before:
            readers[j].append(i)
    ready, done = [i for i, count in enumerate(waits) if not count], []
    while ready:
        i = heapq.heappop(ready)
        done.append(i)
        for j in readers[i]:
            waits[j] -= 1
            if not waits[j]:
                heapq.heappush(ready, j)
    if len(done) < len(nodes):
        stuck = next(node for i, node in enumerate(nodes) if waits[i])
        raise Refusal(f"nodes in a circle, {shown(stuck.name)} ({shown(stuck.op)}) among them")
    return tuple(nodes[i] for i in done)
