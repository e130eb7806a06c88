"""A folder of l2mesh/ is a layer, and imports point down only (architecture: l2mesh/__init__.py)."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "l2mesh"

MAY_IMPORT = {
    "wire": {"wire"},
    "crypto": {"crypto", "wire"},
    "core": {"core", "crypto", "wire"},
    "shell": {"shell", "core", "wire"},
    "simulator": {"simulator", "core", "crypto", "wire"},
    "lab": {"lab"},
    "app": {"app", "lab", "shell", "core", "crypto", "wire"},
}

PURE_LAYERS = {"wire", "crypto", "core"}
# What would let time, chance or the operating system into a pure layer.
FORBIDDEN_IN_PURE = {
    "asyncio",
    "socket",
    "select",
    "selectors",
    "time",
    "random",
    "secrets",
    "threading",
}
FORBIDDEN_IN_PURE |= {"os", "subprocess", "pathlib", "uvloop", "pytun", "pyroute2", "netifaces"}

FILES = sorted(ROOT.rglob("*.py"))


def imported_modules(tree: ast.AST) -> set[str]:
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide their layer: write the full name"
            names.add(str(node.module))
    return names


def faults(layer: str, modules: set[str]) -> list[str]:
    """Why a module of `layer` may not import `modules`, one line each."""
    found = []
    for module in sorted(modules):
        parts = module.split(".")
        if parts[0] == "l2mesh" and len(parts) > 1 and parts[1] not in MAY_IMPORT[layer]:
            found.append(f"{layer}/ imports {module}: {layer}/ may import only {MAY_IMPORT[layer]}")
        if layer in PURE_LAYERS and parts[0] in FORBIDDEN_IN_PURE:
            found.append(f"{layer}/ imports {module}: time, chance and the OS come in as arguments")
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    parts = path.relative_to(ROOT).parts
    if len(parts) == 1:
        return  # the package itself: __init__ and __main__
    assert not faults(parts[0], imported_modules(ast.parse(path.read_text())))


def test_an_upward_import_is_found() -> None:
    assert faults("wire", {"l2mesh.core.fdb"})
    assert faults("core", {"asyncio"})
    assert not faults("app", {"l2mesh.core.fdb", "asyncio"})
