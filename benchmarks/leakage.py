"""How much higher a classifier scores when its folds divide cells or patients.

    python benchmarks/leakage.py DATA/bioimlab.zip DATA/gband65.zip --weights-dir WEIGHTS [--seeds 5]

For each set and each way to divide it (images, whole cells, whole patients: those that the set names): five-fold
cross-validation of two classifiers on the frozen features of an ImageNet model, Macro-F1 of the pooled held-out images,
mean and SD over ``--seeds`` divisions. The classifiers are a linear one (discriminant analysis, shrunk covariance) and
the nearest neighbour by cosine, which remembers every training image. The features never saw a chromosome, so that all
of a difference between the rows comes from the folds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import f1_score

from bandbridge.dataset.imagefolder import open_dataset
from bandbridge.dataset.prepare import Preparation
from bandbridge.dataset.splits import Scheme, make_split
from bandbridge.domains.embeddings import embed, open_extractor
from bandbridge.model.architectures import find_architecture

FOLDS = 5
SCHEMES: tuple[Scheme, ...] = ("image", "cell", "patient")


def nearest(training: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the label of the training row (unit vectors, float32 [N, D]) that is nearest to each held-out row."""
    return labels[(held_out @ training.T).argmax(axis=1)]


def linear(training: np.ndarray, labels: np.ndarray, held_out: np.ndarray) -> np.ndarray:
    """Return the labels that a linear discriminant analysis gives the held-out rows."""
    model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(training, labels)
    return model.predict(held_out)


def macro_f1(values: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> dict[str, float]:
    """Return the Macro-F1 of both classifiers over the pooled held-out images."""
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    scores = {}
    for name, classify, features in (("linear", linear, values), ("nearest", nearest, unit)):
        predicted = np.empty_like(labels)
        for number in range(FOLDS):
            held_out = fold == number
            predicted[held_out] = classify(features[~held_out], labels[~held_out], features[held_out])
        scores[name] = 100 * f1_score(labels, predicted, average="macro")
    return scores


def main() -> None:
    """Print a line for each set and way to divide it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--weights-dir", type=Path)
    parser.add_argument("--architecture", default="tf_efficientnet_lite0")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path("runs"))
    options = parser.parse_args()
    extractor = open_extractor(find_architecture(options.architecture), options.size, options.weights_dir)
    print(f"{'set':16}{'folds by':10}{'linear, Macro-F1':>20}{'nearest, Macro-F1':>20}")
    for path in options.datasets:
        dataset = open_dataset(path)
        values = embed(dataset, path.stem, extractor, Preparation(size=options.size), options.cache).values
        labels = dataset.samples["label"].to_numpy(dtype=str)
        for scheme in SCHEMES:
            if scheme != "image" and (dataset.samples[scheme] == "").any():
                continue
            splits = [make_split(dataset.samples, scheme, FOLDS, seed) for seed in range(options.seeds)]
            scores = [macro_f1(values, labels, split.assignment) for split in splits]
            columns = [[one[name] for one in scores] for name in ("linear", "nearest")]
            texts = [f"{np.mean(column):.2f} ± {np.std(column, ddof=1):.2f}" for column in columns]
            print(f"{path.stem:16}{scheme:10}" + "".join(f"{text:>20}" for text in texts), flush=True)


if __name__ == "__main__":
    main()
