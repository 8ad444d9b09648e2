"""Turn kernel templates into straight-line functions before Numba compiles them.

A template is an ordinary Python function. Names given as constants are replaced by their values,
``for r in unroll(N)`` becomes N copies of its body, ``reg_c[r, v]`` becomes the variable
``reg_c_0_1``, a name in capitals that is given a value is a constant from there on, and an ``if``
whose test is constant keeps one branch. Named variables matter: LLVM keeps them in vector
registers, whereas a tuple or an array of vectors stays in memory.

A statement that calls a function of plain Python, a *part*, becomes that function's body. Its
parameters are what the call names, and may be given values; its other variables are its own. One
that stands for ``reg_c`` or ``reg_c[r]`` holds the registers of that name, or row, that have a
value, in the order of their indices. Constants and other registers are the template's, or else
constants are those of the part's module.
"""

import ast
import functools
import inspect
import textwrap
import types


class _Unroller(ast.NodeTransformer):
    def __init__(self, constants, names):
        self.constants = dict(constants)
        self.names = names
        self.registers = {}

    def _value(self, node):
        """Evaluate a constant expression; NameError if it is none."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in self.constants:
            return self.constants[node.id]
        expression = ast.Expression(self.visit(_copied(node)))
        code = compile(ast.fix_missing_locations(expression), "<constant>", "eval")
        return eval(code, {"__builtins__": {"min": min, "max": max, "len": len}})

    def visit_Name(self, node):
        if isinstance(node.ctx, ast.Load) and node.id in self.constants:
            return ast.copy_location(ast.Constant(self.constants[node.id]), node)
        return node

    def visit_For(self, node):
        if not _is_unrolled(node):
            return self.generic_visit(node)
        body = []
        for value in range(*(self._value(a) for a in node.iter.args)):
            self.constants[node.target.id] = value
            # A loop in this one copies its own statements.
            body += self._block(s if _is_unrolled(s) else _copied(s) for s in node.body)
        self.constants.pop(node.target.id, None)
        return body

    def visit_Assign(self, node):
        target = node.targets[0]
        if isinstance(target, ast.Name) and target.id.isupper():
            self.constants[target.id] = self._value(node.value)
            return []
        return self.generic_visit(node)

    def visit_If(self, node):
        try:
            chosen = node.body if self._value(node.test) else node.orelse
        except NameError:
            return self.generic_visit(node)
        return self._block(chosen) or ast.copy_location(ast.Pass(), node)

    def visit_Expr(self, node):
        part = self.names.get(getattr(getattr(node.value, "func", None), "id", None))
        if not isinstance(part, types.FunctionType):
            return self.generic_visit(node)
        arguments = [self._registers(a) or a for a in node.value.args]
        return self._block(_in_place(part, arguments, node))

    def visit_Subscript(self, node):
        if isinstance(node.value, ast.Constant):
            name = node.value.value[self._value(node.slice)]
        elif isinstance(node.value, ast.Name) and node.value.id.startswith("reg_"):
            index = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
            index = tuple(self._value(i) for i in index)
            name = "_".join([node.value.id, *map(str, index)])
            self.registers.setdefault(node.value.id, {})[index] = name
        else:
            return self.generic_visit(node)
        return ast.copy_location(ast.Name(name, node.ctx), node)

    def _registers(self, node):
        """The registers ``reg_c``, or ``reg_c[r]`` of some first indices; None if it is neither."""
        row = isinstance(node, ast.Subscript)
        names = self.registers.get(getattr(node.value if row else node, "id", None))
        if names is None:
            return None
        first = (self._value(node.slice),) if row else ()
        return ast.Constant(tuple(names[i] for i in sorted(names) if i[: len(first)] == first))

    def _block(self, statements):
        new = (self.visit(statement) for statement in statements)
        return [s for n in new for s in (n if isinstance(n, list) else [n])]


class _Placed(ast.NodeTransformer):
    """A part's names as they are where it is called."""

    def __init__(self, part, arguments):
        self.part = part
        self.arguments = arguments

    def visit_Name(self, node):
        name = node.id
        if name in self.arguments:
            given = self.arguments[name]
            return ast.Name(given.id, node.ctx) if isinstance(given, ast.Name) else _copied(given)
        if name in self.part.__code__.co_varnames:
            own = f"{self.part.__name__}_{name}"
            return ast.Name(own.upper() if name.isupper() else own, node.ctx)
        value = self.part.__globals__.get(name)
        return ast.Constant(value) if isinstance(value, int) else node


def _in_place(part, arguments, call):
    """Statements of a part for a call of it with these arguments."""
    function = _copied(_parsed(part))
    names = (argument.arg for argument in function.args.args)
    placed = _Placed(part, dict(zip(names, arguments, strict=True)))
    for node in ast.walk(function):
        ast.copy_location(node, call)
    return [placed.visit(s) for s in function.body[ast.get_docstring(function) is not None :]]


@functools.cache
def _parsed(function):
    return ast.parse(textwrap.dedent(inspect.getsource(function))).body[0]


def _copied(node):
    """A copy of a tree; `copy.deepcopy` asks every node how it is pickled."""
    if isinstance(node, list):
        return [_copied(element) for element in node]
    if not isinstance(node, ast.AST) or not vars(node):
        return node
    new = type(node).__new__(type(node))
    for name, value in vars(node).items():
        vars(new)[name] = _copied(value) if isinstance(value, (ast.AST, list)) else value
    return new


def _is_unrolled(statement):
    function = getattr(getattr(statement, "iter", None), "func", None)
    return getattr(function, "id", None) == "unroll"


def expand(template, name, constants, rewrite_signature):
    """Expand ``template`` into the code of a plain function called ``name``.

    Parameters
    ----------
    template : function
        Its source must be readable; its defaults and closure are not used.
    name : str
        Name of the new function, so that every expansion has its own entry in Numba's disk cache.
    constants : dict of str to int or str
        Names to replace by values.
    rewrite_signature : callable
        Receives the ``ast.FunctionDef`` and may change its arguments and prepend statements.

    Returns
    -------
    code
        Of the function, under the template's own file name and line, which the disk cache needs.
    """
    function = _copied(_parsed(template))
    function.name = name
    function.decorator_list = []
    function.returns = None
    rewrite_signature(function)
    function = _Unroller(constants, template.__globals__).visit(function)
    tree = ast.fix_missing_locations(ast.Module([function], []))
    ast.increment_lineno(tree, template.__code__.co_firstlineno - 1)
    module = compile(tree, template.__code__.co_filename, "exec")
    return next(c for c in module.co_consts if isinstance(c, types.CodeType))
