"""Write python/octensor/_C.pyi from the installed extension, or check that it is up to date.

Usage: ``python scripts/stubs.py [--check]``, in an environment with requirements/test.txt and octensor.

pybind11-stubgen does the work; what it cannot know is put right here:

* methods that Python attaches to ``QTensor`` are methods, not static ones;
* our ``dtype`` is not NumPy's, and inside classes a type needs an alias where a member has its name;
* members of an enum are assigned, and a signature that says nothing about a type says Any.

The result does not depend on the machine: instruction sets, paths and addresses are no part of it.
"""

from __future__ import annotations

import ast
import difflib
import inspect
import subprocess
import sys
import tempfile
from pathlib import Path
from types import FunctionType

import octensor
from octensor import _C

ROOT = Path(__file__).resolve().parents[1]
STUB = ROOT / "python" / "octensor" / "_C.pyi"
ANY = ast.parse("typing.Any", mode="eval").body
ALIASES = {"dtype": "_DType", "qscheme": "_QScheme", "bool": "_bool", "int": "_int", "float": "_float"}
# Names in the signatures of attached methods, and where they come from.
IMPORTED = {"Tensor": "octensor.tensor", "ValuesIndices": "octensor.ops.reduce"}


class Normalise(ast.NodeTransformer):
    """Names, attached methods and docstrings, as the head of this file says."""

    def __init__(self) -> None:
        self.owner = ""

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.ClassDef:
        self.owner = node.name
        if any(ast.unparse(base) == "enum.Enum" for base in node.bases):
            members = [n.target for n in node.body if isinstance(n, ast.AnnAssign)]
            node.body = node.body[:1] + [ast.Assign([name], ast.Constant(...)) for name in members]
        self.generic_visit(node)
        self.owner = ""
        return self.documented(node)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:
        attached = vars(getattr(_C, self.owner, object)).get(node.name) if self.owner else None
        if isinstance(attached, FunctionType):
            node.decorator_list = []
            node.args.args[0] = ast.arg("self")
            node.body = [ast.Expr(ast.Constant(...))]
        arguments = node.args
        for argument in [*arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]:
            if argument is not None:
                argument.annotation = None if argument.arg == "self" else argument.annotation or ANY
        node.returns = node.returns or ANY
        if not (self.owner == "dtype" and node.name == "numpy"):
            self.generic_visit(node)
        return self.documented(node)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if ast.unparse(node) == "numpy.dtype[typing.Any]":
            return ast.Name(ALIASES["dtype"] if self.owner else "dtype")
        return self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> ast.Name:
        return ast.Name(ALIASES[node.id]) if self.owner and node.id in ALIASES else node

    @staticmethod
    def documented(node: ast.ClassDef | ast.FunctionDef) -> ast.ClassDef | ast.FunctionDef:
        text = ast.get_docstring(node, clean=False)
        if text is not None:
            node.body[0] = ast.Expr(ast.Constant(inspect.cleandoc(text)))
        return node


def generate() -> str:
    """Run pybind11-stubgen, then bring its output into the project's format."""
    assert octensor.QTensor is _C.QTensor
    tool = [sys.executable, "-m"]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--output-dir", folder, "--ignore-unresolved-names", "|".join(IMPORTED), "--exit-code"]
        subprocess.run([*tool, "pybind11_stubgen", "octensor._C", *options], check=True, cwd=folder)
        path = Path(folder, "octensor", "_C.pyi")
        tree = Normalise().visit(ast.parse(path.read_text(encoding="utf-8")))
        aliases = [f"{alias} = {name}" for name, alias in ALIASES.items()]
        text = ast.unparse(ast.fix_missing_locations(tree)).replace("import numpy.typing\n", "")
        text = text.replace("numpy.typing.ArrayLike", "typing.Any").replace("numpy.", "np.")
        imports = [f"from {module} import {name}\n" for name, module in IMPORTED.items()]
        text = text.replace("import numpy\n", "".join(["import numpy as np\n", *imports]))
        path.write_text("\n".join([text, *aliases]) + "\n", encoding="utf-8")
        config = ["--config", str(ROOT / "ruff.toml"), "--quiet"]
        subprocess.run([*tool, "ruff", "check", *config, "--fix-only", "--select", "F401,I,UP", path], check=True)
        subprocess.run([*tool, "ruff", "format", *config, path], check=True)
        return path.read_text(encoding="utf-8")


def main() -> int:
    fresh = generate()
    if "--check" not in sys.argv[1:]:
        STUB.write_text(fresh, encoding="utf-8")
        return 0
    committed = STUB.read_text(encoding="utf-8") if STUB.exists() else ""
    changes = difflib.unified_diff(
        committed.splitlines(), fresh.splitlines(), "committed _C.pyi", "generated _C.pyi", lineterm=""
    )
    print("\n".join(changes))
    return int(committed != fresh)


if __name__ == "__main__":
    sys.exit(main())
