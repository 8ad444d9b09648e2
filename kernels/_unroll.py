"""Turn kernel templates into straight-line functions before Numba compiles them.

A template is an ordinary Python function. Names given as constants are replaced by their values,
``for r in unroll(N)`` becomes N copies of its body, ``reg_c[r, v]`` becomes the variable
``reg_c_0_1``, a name in capitals that is given a value is a constant from there on, and an ``if``
whose test is constant keeps one branch. Named variables matter: LLVM keeps them in vector
registers, whereas a tuple or an array of vectors stays in memory.
"""

import ast
import inspect
import textwrap
import types


class _Unroller(ast.NodeTransformer):
    def __init__(self, constants):
        self.constants = dict(constants)

    def _value(self, node):
        """Evaluate a constant expression; NameError if it is none."""
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in self.constants:
            return self.constants[node.id]
        expression = ast.Expression(self.visit(_copied(node)))
        code = compile(ast.fix_missing_locations(expression), "<constant>", "eval")
        return eval(code, {"__builtins__": {"min": min, "max": max}})

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
            for statement in node.body:
                # A loop in this one copies its own statements.
                new = self.visit(statement if _is_unrolled(statement) else _copied(statement))
                body += new if isinstance(new, list) else [new]
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
        body = []
        for statement in chosen:
            new = self.visit(statement)
            body += new if isinstance(new, list) else [new]
        return body or ast.copy_location(ast.Pass(), node)

    def visit_Subscript(self, node):
        if not (isinstance(node.value, ast.Name) and node.value.id.startswith("reg_")):
            return self.generic_visit(node)
        index = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        name = "_".join([node.value.id, *(str(self._value(i)) for i in index)])
        return ast.copy_location(ast.Name(name, node.ctx), node)


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
    tree = ast.parse(textwrap.dedent(inspect.getsource(template)))
    function = tree.body[0]
    function.name = name
    function.decorator_list = []
    function.returns = None
    rewrite_signature(function)
    function = _Unroller(constants).visit(function)
    tree = ast.fix_missing_locations(ast.Module([function], []))
    ast.increment_lineno(tree, template.__code__.co_firstlineno - 1)
    module = compile(tree, template.__code__.co_filename, "exec")
    return next(c for c in module.co_consts if isinstance(c, types.CodeType))
