"""Execute notebooks without Jupyter: every code cell in one namespace, as `nbconvert --execute` would.

    python docs/notebooks/execute.py NOTEBOOK…          fails when a cell raises or an output differs from the stored one
    python docs/notebooks/execute.py --write NOTEBOOK…  stores the outputs

Text only: what a cell prints, and the value of its last expression.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import sys
from pathlib import Path
from typing import Any


def run_cell(source: str, names: dict[str, Any], where: str) -> str:
    """Execute one cell; what it prints, then the value of its last expression."""
    tree = ast.parse(source, where)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(tree, where, "exec"), names)
        if isinstance(last, ast.Expr):
            value = eval(compile(ast.Expression(last.value), where, "eval"), names)
            if value is not None:
                print(repr(value))
    return out.getvalue()


def execute(path: Path, *, write: bool = False) -> list[str]:
    """Run a notebook from top to bottom; the cells whose stored output is another one."""
    notebook = json.loads(path.read_text())
    names: dict[str, Any] = {"__name__": "__main__"}
    changed = []
    for number, cell in enumerate(notebook["cells"], 1):
        if cell["cell_type"] != "code":
            continue
        text = run_cell("".join(cell["source"]), names, f"{path.name}[{number}]")
        outputs = [{"name": "stdout", "output_type": "stream", "text": text.splitlines(keepends=True)}] if text else []
        if cell["outputs"] != outputs:
            changed.append(f"{path.name}, cell {number}:\n{text}")
        cell["outputs"], cell["execution_count"] = outputs, None
    if write:
        path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")
    return [] if write else changed


def main(arguments: list[str]) -> int:
    write = "--write" in arguments
    changed = [c for a in arguments if a != "--write" for c in execute(Path(a), write=write)]
    for text in changed:
        print(f"another output than the stored one in {text}", file=sys.stderr)
    return 1 if changed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
