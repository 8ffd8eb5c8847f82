"""The floors of the house: reads every import in src/bandbridge, checks that each points down, and draws the picture.

    python docs/architecture.py --check     names each import that points up, each circle, each room without a floor
    python docs/architecture.py             draws docs/images/architecture.svg

Imports inside functions count like all others, except for circles: a circle that closes only when a function is called
does not keep a module from being imported. What is imported for type hints alone (``if TYPE_CHECKING``) never runs, so
it closes no circle and is not drawn; but it may not point up either, because whoever reads the signature has to climb
those stairs. ``from bandbridge import __version__`` is open to all: a fact about the package, not one of its rooms.
Names that are put together while the program runs (``importlib.import_module``) are not seen.
"""

from __future__ import annotations

import argparse
import ast
import json
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from xml.etree import ElementTree

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: finished: what a laboratory does with a finished model. training: what needs torch. both: stands under or over both.
Side = Literal["finished", "training", "both"]
#: When an import runs: with its module, when a function is called, never.
When = Literal["at once", "inside", "typing"]


@dataclass(frozen=True)
class Floor:
    """Rooms of one height: they may import one another and whatever is below."""

    name: str
    side: Side
    holds: str
    rooms: tuple[str, ...] = ()


#: From the ground up.
FLOORS = (
    Floor(
        "ground",
        "both",
        "errors, extras, disk, files, holding, karyotype, machine, terminal, progress, seal, models in the box",
        (
            *(
                "errors",
                "extras",
                "disk",
                "filenames",
                "files",
                "leftovers",
                "holding",
                "processes",
                "workers",
                "boxes",
                "karyotype",
                "machine",
                "codes",
                "templates",
            ),
            *("terminal", "progress", "seal"),
        ),
    ),
    Floor("dataset", "finished", "read, check, prepare, split"),
    Floor("synthetic", "finished", "drawn cells"),
    Floor("evaluation", "finished", "numbers from predictions"),
    Floor("karyogram", "finished", "a cell's sheet, and its picture"),
    Floor("sheets", "finished", "arranged sheets to labelled cells"),
    Floor("metaphase", "finished", "a field of view, its chromosomes"),
    Floor("model", "training", "architectures and weights"),
    Floor("training", "training", "one training run"),
    Floor("domains", "training", "how near image sets are"),
    Floor("study", "training", "many runs, and their ledger"),
    Floor("explain", "training", "what a classifier sees"),
    Floor("predict", "finished", "classify, doubt, sort a cell"),
    Floor("patient", "finished", "a patient's cells together"),
    Floor("export", "training", "a model to pass on"),
    Floor("report", "training", "tables, figures, the page"),
    Floor("review", "finished", "the page to correct cells on"),
    Floor("api", "both", "what other programs may call"),
    Floor("face", "both", "bandbridge/__init__.py", ("bandbridge",)),
    Floor("cli", "both", "one file for each verb", ("cli", "__main__")),
)
HEIGHT = {room: height for height, floor in enumerate(FLOORS) for room in floor.rooms or (floor.name,)}
#: Of the floors that stand over both sides, the modules that belong to training.
TRAINING_FILES = frozenset(
    [f"bandbridge.cli.{verb}" for verb in ("advise", "explain", "export", "fine_tune", "models", "similarity", "study")]
    + [f"bandbridge.api.{name}" for name in ("domains", "fine_tune", "study", "tables")]
)
#: Importing one of these loads PyTorch.
TORCH = ("torch", "torchvision", "timm", "lightning", "lightning_fabric", "safetensors.torch")

ROOT = Path(__file__).resolve().parents[1] / "src" / "bandbridge"
PICTURE = Path(__file__).resolve().parent / "images" / "architecture.svg"


@dataclass(frozen=True)
class Import:
    """One imported name; ``target`` is a module of the house where there is one of that name."""

    line: int
    target: str
    name: str
    when: When

    @property
    def is_ours(self) -> bool:
        return self.target.partition(".")[0] == "bandbridge"


@dataclass(frozen=True)
class Module:
    """A file of the house and everything that it imports, from the house and from elsewhere."""

    name: str
    file: str
    lines: int
    imports: tuple[Import, ...]

    @property
    def on_training_side(self) -> bool:
        height = HEIGHT.get(room_of(self.name))
        return self.name in TRAINING_FILES or (height is not None and FLOORS[height].side == "training")


Modules = Mapping[str, Module]


def room_of(name: str) -> str:
    """``predict`` for ``bandbridge.predict.classify``; ``bandbridge`` for the face itself."""
    return [*name.split("."), name][1]


def read_modules(root: Path = ROOT) -> dict[str, Module]:
    """Every module under ``root``, the folder of the package, by its dotted name."""
    found = {}
    for path in sorted(root.rglob("*.py")):
        parts = ("bandbridge", *path.relative_to(root).with_suffix("").parts)
        package = parts[:-1]
        name = ".".join(package if parts[-1] == "__init__" else parts)
        text = path.read_text(encoding="utf-8")
        imports = tuple(_imports(ast.parse(text, str(path)), package, "at once"))
        file = path.relative_to(root.parents[1]).as_posix()
        found[name] = Module(name, file, len(text.splitlines()), imports)
    return {name: replace(module, imports=_resolved(module.imports, found)) for name, module in found.items()}


def _imports(node: ast.AST, package: tuple[str, ...], when: When) -> Iterator[Import]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            yield from (Import(child.lineno, alias.name, "", when) for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            above = package[: len(package) + 1 - child.level] if child.level else ()
            source = ".".join([*above, *filter(None, [child.module])])
            yield from (Import(child.lineno, source, alias.name, when) for alias in child.names)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _imports(child, package, "inside" if when == "at once" else when)
        elif isinstance(child, ast.If) and ast.unparse(child.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            yield from _imports(ast.Module(child.body, []), package, "typing")
            yield from _imports(ast.Module(child.orelse, []), package, when)
        elif not isinstance(child, ast.expr):  # no expression holds an import
            yield from _imports(child, package, when)


def _resolved(imports: Iterable[Import], modules: Modules) -> tuple[Import, ...]:
    """``from bandbridge.dataset import tiff`` imports the module ``bandbridge.dataset.tiff``."""
    joined = [(one, f"{one.target}.{one.name}") for one in imports]
    return tuple(replace(one, target=longer, name="") if longer in modules else one for one, longer in joined)


def problems(root: Path = ROOT) -> list[str]:
    """What is wrong with the house, a line for each, with file and line."""
    modules = read_modules(root)
    if not modules:
        return [f"{root}: no modules here"]
    return [*_without_floor(modules), *_pointing_wrong(modules), *_circles(modules)]


def _without_floor(modules: Modules) -> Iterator[str]:
    first: dict[str, str] = {}
    for name, module in modules.items():
        first.setdefault(room_of(name), module.file)
    for room in sorted(first.keys() - HEIGHT.keys()):
        yield f"{first[room]}:1: the room {room} has no floor; give it one in FLOORS of docs/architecture.py"


def _pointing_wrong(modules: Modules) -> Iterator[str]:
    for module in modules.values():
        seen = set()
        for one in filter(lambda one: one.is_ours and not one.name.startswith("__"), module.imports):
            own, other = room_of(module.name), room_of(one.target)
            if (one.line, one.target) in seen:
                continue
            seen.add((one.line, one.target))
            if one.target not in modules:
                yield f"{module.file}:{one.line}: {one.target} is not there"
            elif own in HEIGHT and other in HEIGHT and HEIGHT[other] > HEIGHT[own]:
                yield f"{module.file}:{one.line}: {own} imports {one.target}, which is on a higher floor"


def _circles(modules: Modules) -> Iterator[str]:
    """Circles of imports that run at once; after each one found, an import of it is taken out to go on."""
    needs = {
        module.name: {one.target: one.line for one in module.imports if one.is_ours and one.when == "at once"}
        for module in modules.values()
    }
    while True:
        try:
            TopologicalSorter(needs).prepare()
            return
        except CycleError as fault:
            circle = fault.args[1][::-1]  # each is imported by the one before it, as it comes
        steps = list(pairwise(circle))
        first = min(range(len(steps)), key=lambda index: steps[index][0])
        steps = steps[first:] + steps[:first]
        places = ", ".join(f"{modules[a].file}:{needs[a][b]} imports {b}" for a, b in steps)
        yield f"a circle: {places}"
        del needs[steps[-1][0]][steps[-1][1]]


def needing_torch(modules: Modules) -> frozenset[str]:
    """The modules whose import loads PyTorch, by themselves or through what they import at once."""
    needs: dict[str, set[str]] = {}
    for name, module in modules.items():
        packages = {name.rsplit(".", cut)[0] for cut in range(1, name.count(".") + 1)}  # imported before the module
        needs[name] = {one.target for one in module.imports if one.when == "at once"} | packages
    found = {name for name, targets in needs.items() if any(_is_torch(target) for target in targets)}
    while more := {name for name, targets in needs.items() if name not in found and targets & found}:
        found |= more
    return frozenset(found)


def _is_torch(target: str) -> bool:
    return any(target == package or target.startswith(package + ".") for package in TORCH)


def crossing_inside(modules: Modules) -> dict[tuple[str, str], int]:
    """Imports inside functions that lead from the side of finished models to the training side, with their line.

    The face is left out: it leads to both sides, and that is what it is for.
    """
    return {
        (module.name, one.target): one.line
        for module in modules.values()
        if not module.on_training_side and module.name != "bandbridge"
        for one in module.imports
        if one.when == "inside" and one.target in modules and modules[one.target].on_training_side
    }


def survey(root: Path = ROOT) -> dict[str, Any]:
    """What the picture shows: the floors that are there, from the ground up, and how often each imports another."""
    modules = read_modules(root)
    torch = needing_torch(modules)
    floors = []
    for floor in FLOORS:
        inside = [one for one in modules.values() if room_of(one.name) in (floor.rooms or (floor.name,))]
        if inside:
            needs = sum(one.name in torch for one in inside)
            lines = sum(one.lines for one in inside)
            floors.append({"name": floor.name, "modules": len(inside), "torch": needs, "lines": lines})
    counted: dict[str, Counter[str]] = {"at once": Counter(), "inside": Counter(), "typing": Counter()}
    for module in modules.values():
        for _, target, when in {(one.line, one.target, one.when) for one in module.imports if one.is_ours}:
            own, other = (HEIGHT.get(room_of(name), -1) for name in (module.name, target))
            if module.name == "bandbridge" and when == "typing":
                when = "inside"  # the face loads by need what it tells type checkers of
            if own > other >= 0:
                counted[when][f"{FLOORS[own].name} > {FLOORS[other].name}"] += 1
    return {"floors": floors, "imports": {when: dict(sorted(counted[when].items())) for when in ("at once", "inside")}}


# The picture; its measures are inches.

INK, GREY, RULE = "#222222", "#666666", "#DCDCDC"
FILL: dict[Side, str] = {"finished": "#DDEBF7", "training": "#FBE3CF", "both": "#EEEEEE"}
FREE, LOADED = "#2F74B5", "#D06A1B"
WIDTH, STOREY, BOX, WALL = 13.0, 0.52, 3.0, 0.3
STAIRS, STEP = 2 * BOX + WALL + 0.35, 0.36
ABOVE, BELOW = 0.95, 0.62


def draw(shown: Mapping[str, Any]) -> Figure:
    """The floors as boxes on their side of the wall, and beside them who imports whom, as a staircase of numbers."""
    from matplotlib.figure import Figure

    height = STOREY * len(shown["floors"]) + ABOVE + BELOW
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1), xlim=(-0.15, WIDTH - 0.15), ylim=(-BELOW, height - BELOW))
    axes.set_axis_off()
    sides = {floor.name: floor.side for floor in FLOORS}
    _draw_house(axes, shown["floors"], sides)
    _draw_stairs(axes, shown, sides)
    return figure


def _write(axes: Axes, x: float, y: float, words: str, size: float = 9, **style: Any) -> None:
    axes.annotate(words, (x, y), size=size, **{"color": INK, "va": "center"} | style)


def _box(
    axes: Axes, x: float, y: float, width: float, height: float, fill: str, edge: str = "", line: float = 0
) -> None:
    from matplotlib.patches import Rectangle

    axes.add_patch(Rectangle((x, y), width, height, facecolor=fill, edgecolor=edge or "none", linewidth=line))


def _draw_house(axes: Axes, floors: list[dict[str, Any]], sides: Mapping[str, Side]) -> None:
    holds = {floor.name: floor.holds for floor in FLOORS}
    for row, floor in enumerate(floors):
        side, y = sides[floor["name"]], row * STOREY
        x, width = (BOX + WALL if side == "training" else 0), (2 * BOX + WALL if side == "both" else BOX)
        axes.plot([x + width, STAIRS + row * STEP], [y + STOREY / 2] * 2, color=RULE, lw=0.7, zorder=0)
        _box(axes, x, y + 0.04, width, STOREY - 0.08, FILL[side], GREY, 0.7)
        _write(axes, x + 0.08, y + 0.335, floor["name"], 10.5, weight="bold")
        _write(axes, x + 1.05, y + 0.335, holds[floor["name"]], 8.5)
        for index in range(floor["modules"]):
            colour = LOADED if index >= floor["modules"] - floor["torch"] else FREE
            _box(axes, x + 0.09 + index % 20 * 0.068, y + 0.165 - index // 20 * 0.075, 0.055, 0.055, colour)
        many = "module" if floor["modules"] == 1 else "modules"
        size = f"{floor['modules']} {many}, {float(format(floor['lines'], '.2g')):,.0f} lines"
        _write(axes, x + width - 0.08, y + 0.15, size, 8, color=GREY, ha="right")
    on_sides = [row for row, floor in enumerate(floors) if sides[floor["name"]] != "both"]
    wall, top = BOX + WALL / 2, len(floors) * STOREY
    ends = [min(on_sides) * STOREY, (max(on_sides) + 1) * STOREY]
    axes.plot([wall, wall], ends, color=LOADED, lw=2.5, ls=(0, (3, 1.2)), dash_capstyle="butt")
    _write(axes, 0, top + 0.68, "The rooms, from the ground up", 13, weight="bold")
    _write(axes, wall - 0.15, top + 0.26, "a finished model: no torch", 10.5, weight="bold", color=FREE, ha="right")
    _write(axes, wall + 0.15, top + 0.26, "training: needs torch", 10.5, weight="bold", color=LOADED)
    for x, colour, words in ((0, FREE, "a module without torch"), (1.9, LOADED, "a module whose import loads torch")):
        _box(axes, x, -0.25, 0.09, 0.09, colour)
        _write(axes, x + 0.16, -0.21, words)


def _draw_stairs(axes: Axes, shown: Mapping[str, Any], sides: Mapping[str, Side]) -> None:
    names = [floor["name"] for floor in shown["floors"]]
    at_once, inside = shown["imports"]["at once"], shown["imports"]["inside"]
    top, tall = len(names) * STOREY, STOREY - 0.2
    for row, name in enumerate(names):
        x, y = STAIRS + row * STEP, row * STOREY
        axes.plot([x + STEP / 2] * 2, [y + STOREY / 2, top], color=RULE, lw=0.7, zorder=0)
        _box(axes, x, y + 0.1, STEP, tall, FILL[sides[name]], GREY, 0.7)
        _write(axes, x + STEP + 0.07, y + STOREY / 2, name, 9.5)
        for column, other in enumerate(names[:row]):
            key = f"{name} > {other}"
            if count := at_once.get(key, 0) + inside.get(key, 0):
                shade = (
                    str(round(0.93 - 0.3 * min(1, math.log(count) / math.log(30)), 3)) if key in at_once else "white"
                )
                frame = LOADED if sides[name] == "finished" and sides[other] == "training" else ""
                x = STAIRS + column * STEP
                _box(axes, x + 0.025, y + 0.1, STEP - 0.05, tall, shade, frame, 1.6 if frame else 0)
                words = str(count) if key in at_once else f"({count})"
                _write(axes, x + STEP / 2, y + STOREY / 2, words, ha="center")
    _write(axes, STAIRS, top + 0.68, "Who imports whom", 13, weight="bold")
    words = "Along a row: what that floor imports. Up a column: who imports the floor at its foot."
    _write(axes, STAIRS, top + 0.26, words)
    words = "12: imports, those inside functions too      (3): only inside functions, when one is called"
    _write(axes, STAIRS, -0.21, words)
    _box(axes, STAIRS, -0.53, 0.15, 0.15, "white", LOADED, 1.6)
    _write(axes, STAIRS + 0.24, -0.46, "a room for finished models imports one of training")


def write_picture(path: Path = PICTURE, root: Path = ROOT) -> None:
    """Draw the picture; what it shows is kept inside as JSON. Equal houses give equal bytes."""
    from matplotlib import rc_context

    shown = survey(root)
    with rc_context({"svg.hashsalt": "bandbridge", "svg.fonttype": "none", "font.family": "sans-serif"}):
        metadata = {"Date": None, "Creator": "docs/architecture.py", "Description": json.dumps(shown)}
        draw(shown).savefig(path, format="svg", metadata=metadata)


def read_picture(path: Path = PICTURE) -> dict[str, Any]:
    """What a drawn picture shows, as :func:`survey` told it."""
    found = ElementTree.parse(path).find(".//{http://purl.org/dc/elements/1.1/}description")
    if found is None or not found.text:
        raise ValueError(f"{path} was not drawn by docs/architecture.py")
    shown: dict[str, Any] = json.loads(found.text)
    return shown


def main(arguments: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """The command line; 1 if the check finds something."""
    parser = argparse.ArgumentParser(description="The floors of the house: check every import, or draw the picture.")
    parser.add_argument("--check", action="store_true", help="name what points up or in a circle; draw nothing")
    if not parser.parse_args(arguments).check:
        write_picture(root=root)
        print(f"drawn: {PICTURE}")
        return 0
    found, modules = problems(root), read_modules(root)
    for line in found:
        print(line)
    imports = len({(name, one.line) for name, module in modules.items() for one in module.imports if one.is_ours})
    verdict = f"{len(found)} to mend" if found else "every one points down, no circles"
    print(f"{len(modules)} modules, {imports} imports of one another: {verdict}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
