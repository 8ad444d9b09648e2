"""Which nodes of a network run as rvcnn's graphs, and which on arrays."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from rvcnn.graph import Graph, Stored
from rvcnn.ops import Conv2d, QuantizedConv2d

from .call import Call
from .dynamic import real_products
from .layers import BY_ELEMENT, FROM_BYTES, LAYERS, ON_BYTES, TO_BYTES, move
from .network import Network, Node
from .order import reads
from .quantised import HALF, WIDE
from .region import Apart, Region
from .rows import as_maps
from .shapes import MALFORMED, Facts
from .spelt import joined


@dataclass(frozen=True, eq=False)
class Part:
    """A region as a step of a program.

    Attributes
    ----------
    source : str
        The value it reads.
    graph : Graph
        Its outputs are the maps of ``results``.
    results : mapping of str to str
        The map of every value that is needed of it.
    shapes : mapping of str to tuple of int
        Shapes of those values.
    dtypes : mapping of str to dtype
        Types of those values, and of the source.
    last : set of str
        Those whose channels are last.
    """

    source: str
    graph: Graph
    results: Mapping[str, str]
    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: Mapping[str, np.dtype] = field(default_factory=dict)
    last: frozenset[str] = frozenset()


def lower(network: Network, facts: Facts) -> tuple[Part | Node, ...]:
    """Steps that compute a network's outputs, in order.

    Parameters
    ----------
    network : Network
        Folded for the inputs' shapes.
    facts : Facts
        Of all its values; those of new ones are added.
    """
    return _Lowering(as_maps(real_products(joined(network, facts), facts), facts), facts).steps()


class _Lowering:
    def __init__(self, network, facts):
        self.network, self.facts = network, facts
        self.terms, self.regions = {}, {}
        self.makers = {name: node for node in network.nodes for name in node.outputs if name}
        for node in network.nodes:
            try:
                self._add(node)
            except (Apart, *MALFORMED):
                continue

    def _add(self, node):
        layer = LAYERS.get(node.kind)
        known = layer is not None or node.kind in ON_BYTES
        if not known or any(name not in self.facts.shapes for name in node.outputs if name):
            raise Apart(node.kind)
        names = [name for name in node.inputs if name not in self.facts.values and name]
        if not names:
            raise Apart("constants")
        self._check_types(node, names)
        if layer is move and not self.terms.keys() >= set(names):
            raise Apart("a part begins with a layer")  # that it may be of (N, H, W, C), turned
        region = self._region(names)
        terms = tuple(self._term(region, n) if n in names else None for n in node.inputs)
        found = self._found(layer, Call(node, region, terms, self.facts, self.network.opset))
        found = found if isinstance(found, list) else [found]
        for name, term in zip(node.outputs, found, strict=False):
            self._check(name, term)
        self.terms.update(zip(node.outputs, found, strict=False))

    def _check_types(self, node, names):
        for others, allowed in ((names, FROM_BYTES), (node.outputs, TO_BYTES)):
            types = {self.facts.dtypes[name] for name in others if name}
            if types != {np.dtype(np.float32)} and not (
                node.kind in allowed and types <= HALF.keys() | WIDE
            ):
                raise Apart("numbers of another type")

    def _found(self, layer, call):
        """A layer's result: of bytes, if it can be, or of what they stand for."""
        on_bytes = ON_BYTES.get(call.node.kind)
        if on_bytes and any(term and term.map in call.region.stored for term in call.terms):
            with contextlib.suppress(Apart):
                if call.node.kind in BY_ELEMENT:
                    return on_bytes(call)
                terms = tuple(term and call.region.lined(term) for term in call.terms)
                return on_bytes(call._replace(terms=terms))
        if layer is None:
            raise Apart(call.node.kind)
        terms = tuple(term and call.region.real(term) for term in call.terms)
        return layer(call._replace(terms=terms))

    def _check(self, name, term):
        """Raise Apart unless a layer's result has as many elements as the value."""
        if term.scores is not None:
            return
        _, channels, *size = term.region.whole(term.map)
        size = [n + sum(sides) for n, sides in zip(size, term.pad, strict=True)]
        count = term.region.images * channels * np.prod(size)
        if term.moved is None and count != np.prod(self.facts.shapes[name]):
            raise Apart("a result of another size")

    def _region(self, names):
        """The one region that all values are of, or a new one that begins with the only value."""
        found = {self.terms[n].region for n in names if n in self.terms}
        others = {name for name in names if name not in self.terms}
        if not found and len(others) == 1:
            (source,) = others
            if source not in self.regions:
                self.regions[source] = self._new(source)
            return self.regions[source]
        if len(found) != 1 or any(name != next(iter(found)).source for name in others):
            raise Apart("values of several parts")
        return found.pop()

    def _new(self, source):
        shape, dtype = self.facts.shapes.get(source), self.facts.dtypes.get(source)
        if shape is None or len(shape) not in (2, 4) or not np.prod(shape):
            raise Apart("no maps")
        return Region(source, shape, Stored(1.0, 0.0) if dtype in HALF else None)

    def _term(self, region, name):
        return region.known() if name not in self.terms else region.made(name, self.terms[name])

    def steps(self):
        """The program."""
        worth = {
            region
            for region in self.regions.values()
            if any(isinstance(node.op, (Conv2d, QuantizedConv2d)) for node in region.nodes)
        }
        wanted, nodes = {region: {} for region in worth}, set()
        waiting = [value.name for value in self.network.outputs]
        seen = set(waiting)
        while waiting:
            name = waiting.pop()
            if name in self.facts.values:
                continue
            term = self._result(name, worth)
            if term is not None:
                wanted[term.region][name] = term
                more = [term.region.source]
            elif name in self.makers:
                nodes.add(self.makers[name])
                more = reads(self.makers[name])
            else:
                continue
            waiting += [n for n in more if n not in seen]
            seen.update(more)
        parts = [self._part(region, results) for region, results in wanted.items() if results]
        return self._ordered([n for n in self.network.nodes if n in nodes], parts)

    def _result(self, name, worth):
        """The term of a value that is a map of a region, or None."""
        term = self.terms.get(name)
        if term is None or term.region not in worth or term.held is not None:
            return None
        try:
            term = term.region.real(term)
            if term.region.is_in_order(term):
                term = replace(term, moved=None)
            term = term.region.settle(name, term, self.facts.shapes[name])
        except Apart:
            return None
        return None if term.map not in {node.name for node in term.region.nodes} else term

    def _part(self, region, results):
        shapes = {name: self.facts.shapes[name] for name in results}
        dtypes = {name: self.facts.dtypes[name] for name in (*results, region.source)}
        maps = {name: term.map for name, term in results.items()}
        last = frozenset(name for name, term in results.items() if term.last)
        graph = region.graph(dict.fromkeys(maps.values()))
        return Part(region.source, graph, maps, shapes, dtypes, last)

    def _ordered(self, nodes, parts):
        """Each part right after what makes its source."""
        made = {v.name for v in self.network.inputs} | self.network.constants.keys()
        steps = [part for part in parts if part.source in made]
        for node in nodes:
            steps.append(node)
            steps += [part for part in parts if part.source in node.outputs]
        return tuple(_chained(steps, parts))


def _chained(steps, parts):
    """Steps, and after each part those that begin with one of its results."""
    for step in steps:
        yield step
        if isinstance(step, Part):
            yield from _chained([p for p in parts if p.source in step.results], parts)
