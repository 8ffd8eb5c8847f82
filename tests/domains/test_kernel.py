"""Block sums against dense matrices, and the median against SciPy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cdist, pdist

from bandbridge.domains import kernel
from bandbridge.domains.kernel import Forms, RowSums, UnitSums, median_distance, rbf, squared_inner, sweep

FIRST, SECOND, GAMMA = 23, 18, 0.13


@pytest.fixture(params=[7, 2048])
def block_size(request, monkeypatch):
    """Blocks that divide nothing evenly, and one block for everything."""
    monkeypatch.setattr(kernel, "BLOCK", request.param)


@pytest.fixture(scope="module")
def values() -> np.ndarray:
    return np.random.default_rng(3).normal(size=(FIRST + SECOND, 6))


def dense(values: np.ndarray) -> np.ndarray:
    return np.exp(-GAMMA * cdist(values, values, "sqeuclidean"))


@pytest.mark.usefixtures("block_size")
class TestCollectors:
    def test_unit_sums(self, values):
        starts = np.array([0, 4, 5, 15, FIRST, FIRST + 9])
        sums = UnitSums(starts, len(values), torch.device("cpu"))
        sweep(torch.from_numpy(values), FIRST, rbf(GAMMA), [sums])
        member = np.zeros((len(values), len(starts)))
        for unit, (start, stop) in enumerate(zip(starts, [*starts[1:], len(values)], strict=True)):
            member[start:stop, unit] = 1
        np.testing.assert_allclose(sums.total.numpy(), member.T @ dense(values) @ member, rtol=1e-13)

    def test_units_of_one_image_give_the_matrix_itself(self, values):
        sums = UnitSums(np.arange(len(values)), len(values), torch.device("cpu"))
        sweep(torch.from_numpy(values), FIRST, rbf(GAMMA), [sums])
        np.testing.assert_allclose(sums.total.numpy(), dense(values), rtol=1e-13)

    def test_row_sums(self, values):
        sums = RowSums(FIRST, len(values), torch.device("cpu"))
        sweep(torch.from_numpy(values), FIRST, rbf(GAMMA), [sums])
        matrix = dense(values)
        expected = np.stack([matrix[:, :FIRST].sum(1), matrix[:, FIRST:].sum(1)], axis=1)
        np.testing.assert_allclose(sums.total.numpy(), expected, rtol=1e-13)

    def test_quadratic_forms(self, values):
        weights = np.random.default_rng(5).integers(0, 4, size=(len(values), 9)).astype(np.float32)
        forms = Forms(torch.from_numpy(weights), FIRST)
        sweep(torch.from_numpy(values), FIRST, rbf(GAMMA), [forms])
        matrix, first, second = dense(values), weights[:FIRST], weights[FIRST:]
        for found, left, part, right in (
            (forms.within_first, first, matrix[:FIRST, :FIRST], first),
            (forms.across, first, matrix[:FIRST, FIRST:], second),
            (forms.within_second, second, matrix[FIRST:, FIRST:], second),
        ):
            np.testing.assert_allclose(found, np.einsum("ib,ij,jb->b", left, part, right), rtol=1e-6)

    def test_squared_inner_products(self, values):
        sums = UnitSums(np.arange(len(values)), len(values), torch.device("cpu"))
        sweep(torch.from_numpy(values), FIRST, squared_inner, [sums])
        np.testing.assert_allclose(sums.total.numpy(), (values @ values.T) ** 2, rtol=1e-12)


@pytest.mark.usefixtures("block_size")
@pytest.mark.parametrize("count", [2, 3, 10, 41])
def test_median_distance_is_scipys(values, count):
    chosen = values[:count]
    assert median_distance(torch.from_numpy(chosen)) == pytest.approx(np.median(pdist(chosen)), rel=1e-6)


def test_median_distance_survives_a_bracket_that_misses(values, monkeypatch):
    monkeypatch.setattr(kernel, "_bracket", lambda values, seed: (0.0, 1e-9))
    assert median_distance(torch.from_numpy(values)) == pytest.approx(np.median(pdist(values)), rel=1e-6)


def test_median_distance_of_many_equal_images():
    values = np.repeat(np.array([[0.0, 0.0], [3.0, 4.0]]), [30, 2], axis=0)
    assert median_distance(torch.from_numpy(values)) == pytest.approx(np.median(pdist(values)), abs=1e-6)


def test_one_image_has_no_median():
    with pytest.raises(ValueError, match="two images"):
        median_distance(torch.zeros(1, 3))
