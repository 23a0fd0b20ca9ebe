"""Docstrings of the standard library and the installed packages: real English, already here.

Source files are parsed with `ast`; nothing is imported or executed.
"""

import ast
import hashlib
import heapq
import importlib.metadata
import inspect
import platform
import sysconfig
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from jaxbert.data.lines import Advance, no_advance
from jaxbert.data.problems import Problem, Problems
from jaxbert.data.sources.document import Docstring, Document, utf8_size
from jaxbert.errors import UserError

_TESTS = {"test", "tests", "testing", "idle_test", "conftest"}
_COPIES = {"vendor", "_vendor", "vendored", "_vendored", "extern", "externals", "third_party"}
_NO_PACKAGES = {"__pycache__", "site-packages", "dist-packages", "node_modules", "ensurepip"}
_SKIPPED_FOLDERS = _TESTS | _COPIES | _NO_PACKAGES
# Where a limit counts as reached: the last gap is not worth parsing everything for.
_FULL = 0.99
_Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
_Described = ast.Module | _Definition
_HOLDS_STATEMENTS = (ast.stmt, ast.ExceptHandler, ast.match_case)


class Module(NamedTuple):
    """A source file and the name that it is imported by."""

    package: str
    name: str
    path: Path


@dataclass(frozen=True)
class Docs:
    """The `docs:` source: `docs:` for every package, `docs:numpy,scipy` for some."""

    packages: tuple[str, ...] | None = None
    limit_bytes: int | None = None

    @property
    def path(self) -> None:
        """The files of packages were not named."""
        return None

    @property
    def size(self) -> int | None:
        """The limit; without one it is not known how much there is."""
        return self.limit_bytes

    def names(self) -> set[str]:
        """The packages, all of which are installed."""
        return {module.package for module in _modules_of(self.packages)}

    def versions(self) -> list[str]:
        """Those of Python and of what is installed of the packages."""
        installed = importlib.metadata.packages_distributions()
        packages = installed if self.packages is None else self.packages
        names = {name for package in packages for name in installed.get(package, ())}
        found = [f"{name} {importlib.metadata.version(name)}" for name in sorted(names)]
        return [f"Python {platform.python_version()}", *found]

    def read(self, problems: Problems, advance: Advance) -> Iterator[Document]:
        """Documents in the order of packages and modules."""
        return read_docs(self.limit_bytes, self.packages, problems=problems, advance=advance)


def read_docs(
    limit_bytes: int | None = None,
    packages: Collection[str] | None = None,
    *,
    problems: Problems | None = None,
    advance: Advance = no_advance,
) -> Iterator[Document]:
    """One document a module that has docstrings, in the order of packages and modules.

    `packages` are top-level names as they are imported. With `limit_bytes` of UTF-8 text the
    modules are chosen so that packages have equal shares as far as they reach, and within a
    package without regard to their names; the same installation gives the same choice.
    """
    problems = Problems() if problems is None else problems
    names = None if packages is None else tuple(sorted(packages))
    if limit_bytes is None:
        documents: Iterable[Document | None] = _all(_modules_of(names), problems)
    else:
        documents, found = _limited(names, limit_bytes)
        problems.extend(found)
    for document in documents:
        if document is not None:
            advance(utf8_size(document.text))
            yield document


@cache
def find_modules() -> tuple[Module, ...]:
    """Every module but tests and vendored copies, by package and name."""
    paths = sysconfig.get_paths()
    roots = dict.fromkeys(Path(paths[k]) for k in ("stdlib", "platstdlib", "purelib", "platlib"))
    found: dict[str, Module] = {}
    for root in roots:
        for name, path in _walk(root, ""):
            package = name.partition(".")[0]
            found.setdefault(name, Module(package, name, path))
    return tuple(sorted(found.values()))


def _walk(folder: Path, prefix: str) -> Iterator[tuple[str, Path]]:
    if not folder.is_dir():
        return
    # A package before a module of its name, as Python imports them, on every file system.
    for entry in sorted(folder.iterdir()):
        stem = entry.stem
        if entry.is_dir():
            if entry.name.isidentifier() and entry.name not in _SKIPPED_FOLDERS:
                yield from _walk(entry, f"{prefix}{entry.name}.")
        elif entry.suffix == ".py" and stem.isidentifier() and not _is_test(stem):
            name = prefix.removesuffix(".") if stem == "__init__" else prefix + stem
            if name:
                yield name, entry


def _is_test(stem: str) -> bool:
    return stem.startswith("test_") or stem.endswith("_test") or stem in _TESTS


def _modules_of(packages: tuple[str, ...] | None) -> tuple[Module, ...]:
    modules = find_modules()
    if packages is None:
        return modules
    missing = sorted(set(packages) - {module.package for module in modules})
    if missing:
        raise UserError(
            f"docs: no package {', '.join(missing)} is installed; give names as they are imported"
        )
    return tuple(module for module in modules if module.package in packages)


def _all(modules: Iterable[Module], problems: Problems) -> Iterator[Document | None]:
    return (_document(module, problems) for module in modules)


# Parsing is slow, what is chosen is small, and training a vocabulary reads it three times.
@lru_cache(maxsize=2)
def _limited(
    packages: tuple[str, ...] | None, limit: int
) -> tuple[tuple[Document, ...], tuple[Problem, ...]]:
    """At most `limit` bytes of documents: the package that has the least so far goes next.

    A package whose next module does not fit any more has had its share.
    """
    problems = Problems()
    waiting: dict[str, list[Module]] = defaultdict(list)
    for module in sorted(_modules_of(packages), key=lambda m: _shuffled(m.name), reverse=True):
        waiting[module.package].append(module)
    shares = sorted((0, _shuffled(package), package) for package in waiting)
    chosen: dict[Module, Document] = {}
    total = 0
    while shares and total < _FULL * limit:
        share, tie, package = heapq.heappop(shares)
        module = waiting[package].pop()
        document = _document(module, problems)
        size = utf8_size(document.text) if document else 0
        if total + size > limit:
            continue
        if document is not None:
            chosen[module] = document
        total += size
        if waiting[package]:
            heapq.heappush(shares, (share + size, tie, package))
    return tuple(chosen[module] for module in sorted(chosen)), tuple(problems.kept)


def _shuffled(name: str) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=8).digest()


def _document(module: Module, problems: Problems) -> Document | None:
    docstrings = tuple(_docstrings(module, problems))
    if not docstrings:
        return None
    text = "\n\n".join(docstring.text for docstring in docstrings)
    file, line = str(module.path), docstrings[0].line
    return Document(text, file, line, module.package, module.name, docstrings)


def _docstrings(module: Module, problems: Problems) -> Iterator[Docstring]:
    try:
        with warnings.catch_warnings():
            # Other people's invalid escapes are no concern of ours.
            warnings.simplefilter("ignore")
            tree = ast.parse(module.path.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError, OSError) as error:
        line = getattr(error, "lineno", None) or 1
        problems.add("unreadable module", str(module.path), line, f"{error}; module left out")
        return
    for name, node in _described(tree, module.name):
        expression = node.body[0] if node.body else None
        match expression:
            case ast.Expr(value=ast.Constant(value=str(text)), lineno=line):
                # A lone surrogate in an escape cannot be encoded.
                text = inspect.cleandoc(text.encode(errors="replace").decode())
                if text.strip():
                    yield Docstring(name, line, text)


def _described(tree: ast.Module, name: str) -> Iterator[tuple[str, _Described]]:
    """Modules, classes and functions in the order of the source, with their dotted names."""
    # A stack, because a chain of a thousand `elif`s is a thousand levels deep.
    waiting: list[tuple[str, ast.AST]] = [(name, tree)]
    while waiting:
        name, node = waiting.pop()
        if isinstance(node, _Described):
            yield name, node
        children = [c for c in ast.iter_child_nodes(node) if isinstance(c, _HOLDS_STATEMENTS)]
        for child in reversed(children):
            own = f".{child.name}" if isinstance(child, _Definition) else ""
            waiting.append((name + own, child))
