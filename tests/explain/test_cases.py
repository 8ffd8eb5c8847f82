"""Cases chosen by rule from predictions made up for the purpose."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd
import pytest

from bandbridge.explain.cases import (
    CASE,
    broken_errors,
    confident_errors,
    confused_pairs,
    correct_by_all,
    draw_images,
    examples_of_pairs,
    judge,
    mended_errors,
)

CLASSES = ("1", "2", "10", "X")


def predictions(seed: int, count: int = 60) -> pd.DataFrame:
    """Guesses that are right in about two of three images; two checkpoints."""
    labels = np.array(CLASSES)[np.arange(count) % 4]
    rng = np.random.default_rng(seed)
    parts = []
    for checkpoint in ("best", "last"):
        logits = rng.normal(size=(count, 4)) + 1.5 * np.eye(4)[np.arange(count) % 4]
        frame = pd.DataFrame({"image": [f"images/{i:03d}.png" for i in range(count)]})
        frame = frame.assign(cell=[f"c{i // 8}" for i in range(count)], patient="", label=labels, checkpoint=checkpoint)
        parts.append(
            pd.concat(
                [frame, pd.DataFrame(logits.astype(np.float32), columns=list(map("logit_{}".format, CLASSES)))], axis=1
            )
        )
    return pd.concat(parts, ignore_index=True)


PREDICTIONS = {"scratch": predictions(0), "imagenet": predictions(1), "two-step": predictions(2)}
JUDGED = judge(PREDICTIONS, "last")


def rows(frame: pd.DataFrame) -> list[dict]:
    return frame.to_dict("records")


def test_judging_is_softmax_and_argmax() -> None:
    assert len(JUDGED) == 180 and list(JUDGED["approach"].unique()) == list(PREDICTIONS)
    for judged in rows(JUDGED.sample(20, random_state=0)):
        frame = PREDICTIONS[judged["approach"]]
        row = frame[(frame["image"] == judged["image"]) & (frame["checkpoint"] == "last")].iloc[0]
        powers = {name: np.exp(float(row[f"logit_{name}"])) for name in CLASSES}
        best = max(powers, key=powers.get)
        assert judged["predicted"] == best and judged["correct"] == (best == judged["label"])
        assert judged["probability"] == pytest.approx(powers[best] / sum(powers.values()))
        assert judged["truth_probability"] == pytest.approx(powers[judged["label"]] / sum(powers.values()))


def test_correct_by_all_is_drawn_from_the_images_that_all_get_right() -> None:
    right = Counter(row["image"] for row in rows(JUDGED) if row["correct"])
    by_all = {image for image, count in right.items() if count == 3}
    cases = correct_by_all(JUDGED, 6, seed=0)
    assert tuple(cases.columns) == CASE and len(cases) == 6 and set(cases["image"]) <= by_all
    assert (cases["predicted"] == cases["label"]).all() and (cases["approach"] == "").all()
    everything = correct_by_all(JUDGED, 1000, seed=0)
    assert set(everything["image"]) == by_all and everything["image"].is_unique
    assert "seed 0" in cases["rule"][0] and "3 approaches" in cases["rule"][0]


def test_classes_take_turns_in_a_draw_that_only_the_seed_decides() -> None:
    images = pd.DataFrame({"image": [f"{i:02d}" for i in range(40)], "label": ["1"] * 30 + ["2"] * 8 + ["X"] * 2})
    drawn = draw_images(images, 9, seed=5)
    assert Counter(drawn["label"][:6]) == {"1": 2, "2": 2, "X": 2}
    assert Counter(drawn["label"]) in ({"1": 4, "2": 3, "X": 2}, {"1": 3, "2": 4, "X": 2})
    shuffled = images.sample(frac=1, random_state=1)
    pd.testing.assert_frame_equal(draw_images(shuffled, 9, seed=5), drawn)
    assert set(draw_images(images, 9, seed=6)["image"]) != set(drawn["image"])
    assert len(draw_images(images, 99, seed=0)) == 40


def test_every_image_is_as_likely_as_another_of_its_class() -> None:
    images = pd.DataFrame({"image": list("abcdef"), "label": ["1", "1", "1", "2", "2", "2"]})
    drawn = Counter(image for seed in range(200) for image in draw_images(images, 2, seed)["image"])
    assert all(abs(count - 67) < 34 for count in drawn.values())  # 5 standard deviations of a binomial


def test_confident_errors_take_the_approaches_by_turns() -> None:
    worst: dict[str, tuple[float, str]] = {}
    for row in rows(JUDGED):
        if not row["correct"] and row["probability"] > worst.get(row["image"], (0.0, ""))[0]:
            worst[row["image"]] = (row["probability"], row["approach"])
    expected = []
    for turn in range(2):
        for_turn = []
        for approach in PREDICTIONS:
            mine = sorted(((p, image) for image, (p, who) in worst.items() if who == approach), reverse=True)
            for_turn.append((mine[turn][0], approach, mine[turn][1]))
        expected += [(approach, image) for _, approach, image in sorted(for_turn, reverse=True)]
    cases = confident_errors(JUDGED, 6)
    assert list(zip(cases["approach"], cases["image"], strict=True)) == expected
    assert (cases["predicted"] != cases["label"]).all()


def test_confused_pairs_count_both_ways_over_all_approaches() -> None:
    counts = Counter(tuple(sorted((row["label"], row["predicted"]))) for row in rows(JUDGED) if not row["correct"])
    pairs = confused_pairs(JUDGED, 4)
    found = [((row["first"], row["second"]), row["errors"]) for row in rows(pairs)]
    assert found == sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:4]


def test_the_example_of_a_pair_is_its_most_confident_error() -> None:
    pairs = confused_pairs(JUDGED, 3)
    cases = examples_of_pairs(JUDGED, pairs)
    for pair, case in zip(rows(pairs), rows(cases), strict=True):
        among = [row for row in rows(JUDGED) if {row["label"], row["predicted"]} == {pair["first"], pair["second"]}]
        assert case["probability"] == max(row["probability"] for row in among)
        assert str(pair["errors"]) in case["rule"]
    other = pd.DataFrame({"first": ["1"], "second": ["1"], "errors": [5]})
    assert examples_of_pairs(JUDGED, other).empty


@pytest.mark.parametrize(
    ("choose", "right", "wrong"), [(mended_errors, "two-step", "imagenet"), (broken_errors, "imagenet", "two-step")]
)
def test_mended_and_broken_errors_are_ordered_by_what_the_truth_gains(choose, right: str, wrong: str) -> None:
    table = {(row["approach"], row["image"]): row for row in rows(JUDGED)}
    changes = {
        image: table[right, image]["truth_probability"] - table[wrong, image]["truth_probability"]
        for _, image in table
        if table[right, image]["correct"] and not table[wrong, image]["correct"]
    }
    cases = choose(JUDGED, "two-step", "imagenet", 5)
    assert cases["image"].tolist() == sorted(changes, key=changes.get, reverse=True)[:5]
    assert set(cases["approach"]) == {wrong}
    assert cases["predicted"].tolist() == [table[wrong, image]["predicted"] for image in cases["image"]]


def test_rules_find_nothing_where_there_is_nothing() -> None:
    perfect = JUDGED.assign(predicted=JUDGED["label"], correct=True)
    assert confident_errors(perfect, 3).empty and confused_pairs(perfect, 3).empty
    assert mended_errors(perfect, "two-step", "imagenet", 3).empty
    assert mended_errors(JUDGED, "two-step", "absent", 3).empty
    assert correct_by_all(JUDGED.assign(correct=False), 3, 0).empty
    assert judge({}, "best").empty


def test_an_image_that_one_approach_has_not_predicted_is_not_correct_by_all() -> None:
    image = correct_by_all(JUDGED, 1, seed=0)["image"][0]
    partial = JUDGED[~((JUDGED["image"] == image) & (JUDGED["approach"] == "scratch"))]
    assert image not in set(correct_by_all(partial, 1000, seed=0)["image"])
