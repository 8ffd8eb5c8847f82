"""Figure 2 with the paper's eleven architectures: what is drawn, labels that stay apart, bytes that stay the same."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from scipy.optimize import minimize

from bandbridge.report.context import ArchitectureLabel, Arm, TableContext, TaskLabel
from bandbridge.report.effects import Effects
from bandbridge.report.figures.forest import Gain, draw_forest
from bandbridge.report.figures.gains import difference_figures, spread
from bandbridge.report.figures.illustration import Illustration, save_illustration

#: The eleven architectures with their parameters in millions; six lie between 21 and 28.
SIZES = {"VGG-16": 134.37, "VGG-19": 139.67, "ResNet-34": 21.30, "ResNet-50": 23.56, "ResNet-101": 42.55}
SIZES |= {"ResNeXt-50": 23.03, "ResNeXt-101": 86.79, "ConvNeXt-Tiny": 27.84, "Swin-T": 27.54}
SIZES |= {"ViT-S/16": 21.68, "MobileNetV3-L": 4.23}
PARAMETERS = {name: round(1e6 * size) for name, size in SIZES.items()}
MODERN = ("ConvNeXt-Tiny", "Swin-T", "ViT-S/16", "MobileNetV3-L")
CONTEXT = TableContext(
    title="Paper",
    protocol="paper",
    protocol_text="",
    folds=(0, 1, 2, 3, 4),
    tasks=(TaskLabel("g", "G-band"), TaskLabel("q", "Q-band")),
    architectures=tuple(ArchitectureLabel(name, "modern" if name in MODERN else "traditional") for name in SIZES),
    arms=(Arm("g", "imagenet"), Arm("g", "two-step", "q"), Arm("q", "imagenet"), Arm("q", "two-step", "g")),
)


def make_effects(half_width: float = 2.0) -> Effects:
    """Gains of -1 to +1, published intervals half as wide as the moderated ones."""
    rows = [
        {"task": task, "architecture": name, "approach": "two-step", "intermediate": other, "reference": "imagenet"}
        | {"groups": 65, "mean_pp": mean, "published_low_pp": mean - 1, "published_high_pp": mean + 1}
        | {"moderated_low_pp": mean - half_width, "moderated_high_pp": mean + half_width, "moderated_over": 22}
        for task, other in (("g", "q"), ("q", "g"))
        for name, mean in zip(SIZES, np.linspace(-1, 1, len(SIZES)), strict=True)
    ]
    return Effects(pd.DataFrame(rows), pd.DataFrame(), pd.DataFrame(), "best", 0.25)


def draw(effects: Effects | None = None, context: TableContext = CONTEXT) -> Illustration:
    (illustration,) = difference_figures(effects or make_effects(), context, PARAMETERS)
    return illustration


def labels_of(illustration: Illustration, panel: int = 0) -> list[Text]:
    return [text for text in illustration.figure.axes[panel].texts if text.get_text() in SIZES]


def test_every_architecture_is_drawn_at_its_size_and_gain() -> None:
    illustration = draw()
    assert [axes.texts[-1].get_text() for axes in illustration.figure.axes] == ["(a) G-band", "(b) Q-band"]
    for axes in illustration.figure.axes:
        marks = {
            float(line.get_ydata()[0]): float(line.get_xdata()[0])
            for line in axes.lines
            if line.get_marker() in ("o", "s")
        }
        assert len(marks) == 11
        for name, mean in zip(SIZES, np.linspace(-1, 1, len(SIZES)), strict=True):
            # Moved apart sideways by less than a tenth of a decade.
            assert marks[mean] == pytest.approx(math.log10(PARAMETERS[name]), abs=0.07)
    assert "best checkpoint (protocol: paper)" in illustration.sentence


def test_labels_of_the_eleven_architectures_do_not_overlap() -> None:
    illustration = draw()
    renderer = FigureCanvasAgg(illustration.figure).get_renderer()
    for panel in range(2):
        labels = labels_of(illustration, panel)
        assert {label.get_text() for label in labels} == set(SIZES)
        anchors = sorted(tuple(label.get_transform().transform(label.get_position())) for label in labels)
        tilt = math.radians(labels[0].get_rotation())
        heights = []
        for label in labels:
            label.set_rotation(0)
            heights.append(label.get_window_extent(renderer).height)
            label.set_rotation(math.degrees(tilt))
        # Parallel strips: what lies between two of them, across, is at least the height of one.
        across = np.diff([x for x, _ in anchors]) * math.sin(tilt)
        assert len({round(y, 6) for _, y in anchors}) == 1
        assert across.min() >= 0.95 * max(heights)


def test_everything_stays_on_the_page_and_apart_from_the_other_panel() -> None:
    illustration = draw()
    renderer = FigureCanvasAgg(illustration.figure).get_renderer()
    page = illustration.figure.bbox
    right_frame = illustration.figure.axes[1].get_position().x0 * page.width
    for panel in range(2):
        for label in labels_of(illustration, panel):
            box = label.get_window_extent(renderer)
            assert box.x1 <= (right_frame if panel == 0 else page.width) and box.y1 <= page.height
    title = illustration.figure.axes[0].texts[-1].get_window_extent(renderer)
    assert title.y1 <= page.height
    assert all(label.get_window_extent(renderer).y1 <= title.y0 for label in labels_of(illustration))


def test_an_interval_beyond_the_frame_ends_in_arrows() -> None:
    axes = draw(make_effects(half_width=40)).figure.axes[0]
    low, high = axes.get_ylim()
    # The published intervals reach from -2 to 2: the frame is no more than three times that.
    assert -6.7 < low < -2 and 2 < high < 6.7
    ends = [line.get_marker() for line in axes.lines if line.get_marker() in ("v", "^", "_")]
    assert sorted(set(ends)) == ["^", "v"] and len(ends) == 22
    inside = draw(make_effects(half_width=2)).figure.axes[0]
    assert {line.get_marker() for line in inside.lines} & {"v", "^", "_"} == {"_"}


def test_one_fold_is_drawn_with_the_pooled_interval() -> None:
    effects = make_effects()
    columns = [
        name for name in effects.comparisons if name.startswith(("moderated_low", "moderated_high", "published"))
    ]
    effects.comparisons[columns] = np.nan
    effects.comparisons["pooled_low_pp"] = effects.comparisons["mean_pp"] - 0.4
    effects.comparisons["pooled_high_pp"] = effects.comparisons["mean_pp"] + 0.3
    illustration = draw(effects, replace(CONTEXT, folds=(0,)))
    assert "pooled predictions" in illustration.sentence and "published" not in illustration.sentence
    names = [text.get_text() for text in illustration.figure.legends[0].get_texts()]
    assert names == ["Traditional CNNs", "Modern architectures", "95%, bootstrap of pooled groups"]
    caps = [float(line.get_ydata()[0]) for line in illustration.figure.axes[0].lines if line.get_marker() == "_"]
    means = np.linspace(-1, 1, len(SIZES))
    assert sorted(caps) == pytest.approx(sorted([*(means - 0.4), *(means + 0.3)]))


@pytest.mark.parametrize("sizes", [1, 2])
def test_gains_of_one_size_are_drawn_with_their_folds(sizes: int) -> None:
    """One architecture in two tasks; and two architectures of one size, whose gains no axis of sizes can tell apart."""
    chosen = list(SIZES)[:sizes]
    effects = make_effects()
    kept = effects.comparisons.loc[lambda data: data.architecture.isin(chosen)]
    folds = {f"fold_{fold}_pp": kept["mean_pp"] + fold - 2 for fold in range(5)}
    one_size = replace(effects, comparisons=kept.assign(**folds))
    context = replace(CONTEXT, architectures=tuple(ArchitectureLabel(name) for name in chosen))
    (illustration,) = difference_figures(one_size, context, dict.fromkeys(chosen, 6_140_000))
    (axes,) = illustration.figure.axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == 2 * sizes * 6 and names[:2] == [f"(a) G-band, {chosen[0]}", "fold 0"]
    dots = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "o"]
    gains = kept["mean_pp"].to_numpy()[:, None] + np.arange(5) - 2
    assert dots == pytest.approx(gains.ravel().tolist())
    means = [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == "D"]
    assert means == pytest.approx(kept["mean_pp"].tolist())
    assert illustration.name == "figure2" and "size" not in illustration.title
    low, high = axes.get_xlim()
    assert low < min(dots) and high > max(dots) and low < 0 < high


@pytest.mark.filterwarnings("error")
def test_gains_of_nothing_have_a_frame_too() -> None:
    nothing = (0.0, 0.0)
    figure = draw_forest([Gain("no gain", 0.0, ((0, 0.0), (1, 0.0)), nothing, (math.nan, math.nan), "#0072B2")], "pp")
    low, high = figure.axes[0].get_xlim()
    assert low < 0 < high


def test_too_few_folds_have_no_thin_bar_for_new_trainings() -> None:
    effects = make_effects()
    effects.comparisons[["pooled_low_pp", "pooled_high_pp"]] = np.nan
    illustration = draw(effects, replace(CONTEXT, folds=(0, 1)))
    assert "2 folds are too few for new trainings" in illustration.sentence
    assert not {line.get_marker() for line in illustration.figure.axes[0].lines} & {"v", "^"}


def test_families_differ_in_colour_and_in_shape() -> None:
    axes = draw().figure.axes[0]
    styles = {(line.get_marker(), line.get_color()) for line in axes.lines if line.get_marker() in ("o", "s", "^")}
    assert len(styles) == len({marker for marker, _ in styles}) == len({colour for _, colour in styles}) == 2


def test_comparisons_that_are_not_complete_are_not_drawn() -> None:
    effects = make_effects()
    effects.comparisons.loc[lambda data: data.task == "g", "groups"] = 0
    illustration = draw(effects)
    assert [axes.texts[-1].get_text() for axes in illustration.figure.axes] == ["(a) Q-band"]
    effects.comparisons["groups"] = 0
    assert difference_figures(effects, CONTEXT, PARAMETERS) == []


def test_domain_against_scratch_is_a_figure_of_its_own() -> None:
    more = make_effects().comparisons.assign(approach="domain", reference="scratch")
    arms = (*CONTEXT.arms, Arm("g", "scratch"), Arm("g", "domain", "q"))
    both = replace(make_effects(), comparisons=pd.concat([make_effects().comparisons, more]))
    figures = difference_figures(both, replace(CONTEXT, arms=arms), PARAMETERS)
    assert [one.name for one in figures] == ["figure2", "figure2-domain"]
    assert len(figures[1].figure.axes) == 1


def test_several_intermediates_are_panels_of_their_own() -> None:
    more = make_effects().comparisons.loc[lambda data: data.task == "q"].assign(intermediate="g30")
    both = replace(make_effects(), comparisons=pd.concat([make_effects().comparisons, more]))
    context = replace(CONTEXT, arms=(*CONTEXT.arms, Arm("q", "two-step", "g30")))
    titles = [axes.texts[-1].get_text() for axes in draw(both, context).figure.axes]
    assert titles == [
        "(a) G-band: Two-step via Q-band minus ImageNet",
        "(b) Q-band: Two-step via G-band minus ImageNet",
        "(c) Q-band: Two-step via g30 minus ImageNet",
    ]


@pytest.mark.slow
def test_the_same_numbers_give_the_same_bytes_without_a_date(tmp_path: Path) -> None:
    first = save_illustration(draw(), tmp_path / "a")
    second = save_illustration(draw(), tmp_path / "b")
    assert [path.name for path in first] == ["figure2.svg", "figure2.pdf", "figure2.png"]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    svg, pdf, png = (path.read_bytes() for path in first)
    assert b"dc:date" not in svg and b"CreationDate" not in pdf and b"Software" not in png
    assert pdf.startswith(b"%PDF") and png.startswith(b"\x89PNG") and b"</svg>" in svg


@pytest.mark.slow
def test_nothing_is_left_in_pyplot_or_in_the_settings(tmp_path: Path) -> None:
    import matplotlib
    from matplotlib import pyplot

    before = dict(matplotlib.rcParams)
    save_illustration(draw(), tmp_path)
    assert pyplot.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_spread_moves_as_little_as_possible() -> None:
    rng = np.random.default_rng(0)
    for count in (1, 2, 7):
        positions = rng.uniform(2, 8, count)
        moved = spread(positions, 1.0, -10, 20)
        order = np.argsort(positions)
        assert (np.diff(moved[order]) >= 1 - 1e-9).all()
        gaps = [{"type": "ineq", "fun": lambda x, i=i, j=j: x[j] - x[i] - 1} for i, j in pairwise(order)]
        start = moved + rng.normal(size=count)
        best = minimize(lambda x, positions=positions: np.sum((x - positions) ** 2), start, constraints=gaps)
        assert np.sum((moved - positions) ** 2) == pytest.approx(best.fun, abs=1e-5)


def test_spread_stays_within_its_ends() -> None:
    moved = spread(np.array([0.1, 9.9, 0.1, 9.9]), 1.0, 0.0, 10.0)
    assert sorted(moved) == pytest.approx([0, 1, 9, 10])
    assert spread(np.array([1.0, 5.0]), 1.0, 0.0, 10.0).tolist() == [1.0, 5.0]
