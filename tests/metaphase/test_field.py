"""Drawn fields cut: what lies apart is found whole, at any scale, polarity and depth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage
from scipy.ndimage import binary_dilation, gaussian_filter

from bandbridge.metaphase.crops import crop_of, layers_of
from bandbridge.metaphase.field import cut_field
from bandbridge.metaphase.ground import BlankField
from bandbridge.metaphase.pieces import CHROMOSOME, DEBRIS, FEWEST, NUCLEUS, Piece, by_stain, with_cells
from bandbridge.synthetic.crowd import Crowd
from bandbridge.synthetic.spread import draw_spread


def found_of(truth: list[np.ndarray], pieces: list[np.ndarray], least: float = 0.5) -> int:
    return sum(max(((a & b).sum() / (a | b).sum() for b in pieces), default=0.0) >= least for a in truth)


@pytest.mark.parametrize("name", ["clean_g", "clean_q"])
def test_chromosomes_that_lie_apart_are_all_found(name, request) -> None:
    spread = request.getfixturevalue(name)
    cut = cut_field(spread.gray)
    assert cut.levelled.bright == spread.bright
    assert found_of(spread.masks(), cut.masks()) >= 44 and 44 <= len(cut.chromosomes()) <= 48
    assert [len(cell) for cell in cut.cells] == [len(cut.chromosomes())]
    assert 0.75 < cut.width / spread.width < 1.3


def test_a_field_twice_as_large_gives_the_same_pieces_at_its_scale(clean_g) -> None:
    gray = clean_g.gray
    large = np.asarray(Image.fromarray(gray).resize((gray.shape[1] * 2, gray.shape[0] * 2), Image.Resampling.BICUBIC))
    masks = [np.kron(mask, np.ones((2, 2), bool)) for mask in clean_g.masks()]
    cut = cut_field(large)
    assert found_of(masks, cut.masks()) >= 43
    assert 1.5 < cut.width / clean_g.width < 2.6


def test_sixteen_bits_and_the_other_polarity(clean_q) -> None:
    deep = cut_field(clean_q.gray.astype(np.uint16) * 16)
    other = cut_field(255 - clean_q.gray)
    assert found_of(clean_q.masks(), deep.masks()) >= 44
    assert not other.levelled.bright and found_of(clean_q.masks(), other.masks()) >= 36


@pytest.mark.parametrize("stain", ["Q", "G"])
def test_where_every_second_one_crosses_more_than_twice_as_many_are_found_as_hang_apart(stain) -> None:
    spread = draw_spread(stain, 21, 0, Crowd(share=0.25, crossing=0.5, touching=0.2, nuclei=0, debris=0))
    truth, cut = spread.masks(), cut_field(spread.gray)
    pieces, count = ndimage.label(spread.first > 0)
    apart = found_of(truth, [pieces == k for k in range(1, count + 1)])
    assert found_of(truth, cut.masks()) > 2 * apart


def test_nuclei_alone_are_no_cell_and_a_blank_field_is_said_to_be_one(nuclei_alone) -> None:
    cut = cut_field(nuclei_alone)
    assert cut.cells == () and len(cut.chromosomes()) < FEWEST
    with pytest.raises(BlankField):
        cut_field(np.full((200, 300), 128, np.uint8))


def test_a_crop_shows_its_own_chromosome_on_the_ground(clean_g) -> None:
    cut = cut_field(clean_g.gray)
    others = np.zeros(cut.shape, bool)
    for piece in cut.pieces:
        others[piece.box] |= piece.mask
    ground = np.median(clean_g.gray[~others])
    for piece in cut.chromosomes()[:8]:
        crop = crop_of(clean_g.gray, cut.width, piece, others)
        border = np.concatenate([crop[0], crop[-1], crop[:, 0], crop[:, -1]])
        assert abs(np.median(border) - ground) < 45
        assert crop.min() == clean_g.gray[piece.box][piece.mask].min()


def test_layers_hold_every_pixel_of_each(clean_g) -> None:
    cut = cut_field(clean_g.gray)
    first, second = layers_of(cut, cut.cells[0])
    for number, place in enumerate(cut.cells[0], start=1):
        piece = cut.pieces[place]
        assert np.array_equal(((first == number) | (second == number))[piece.box], piece.mask)


def pieces_at(middles: list[tuple[float, float]]) -> list[Piece]:
    return [Piece(int(row), int(column), np.ones((8, 8), bool), area=64) for row, column in middles]


def test_two_cells_in_a_field_are_two_and_a_few_astray_belong_to_the_nearest() -> None:
    rng = np.random.default_rng(3)
    one = [tuple(each) for each in rng.uniform(0, 200, (40, 2))]
    two = [(row, column + 600) for row, column in rng.uniform(0, 200, (30, 2))]
    astray = [(100.0, 420.0)]
    pieces, cells = with_cells(pieces_at([*one, *two, *astray]))
    assert [len(cell) for cell in cells] in ([40, 31], [41, 30])
    assert 70 in cells[1]
    assert with_cells(pieces_at(one[:5]))[1] == []
    assert all(piece.kind == CHROMOSOME for piece in pieces)


def test_more_than_any_cell_has_are_no_cell() -> None:
    rng = np.random.default_rng(4)
    many = [tuple(each) for each in rng.uniform(0, 400, (151, 2))]
    assert with_cells(pieces_at(many))[1] == []
    assert [len(cell) for cell in with_cells(pieces_at(many[:150]))[1]] == [150]


def test_noise_is_told_from_chromosomes_before_they_are_looked_for(monkeypatch) -> None:
    noise = (np.random.default_rng(0).random((500, 600)) * 255).astype(np.uint8)
    monkeypatch.setattr("bandbridge.metaphase.field.separate", lambda *_: pytest.fail("looked at for minutes"))
    with pytest.raises(BlankField, match="wider than a few pixels"):
        cut_field(noise)


def test_what_is_stained_far_more_than_the_rest_is_a_nucleus() -> None:
    contrast = np.ones((300, 300), np.float32)
    pieces = pieces_at([(10 * k, 10 * k) for k in range(12)])
    contrast[pieces[3].box], contrast[pieces[5].box] = 4, 0.1
    kinds = [piece.kind for piece in by_stain(pieces, contrast)]
    assert kinds.count(CHROMOSOME) == 10 and kinds[3] == NUCLEUS and kinds[5] == DEBRIS
    crossing = [replace(piece, overlap=10) for piece in pieces]
    assert by_stain(crossing, contrast)[3].kind == CHROMOSOME


def test_what_is_stained_as_those_about_it_is_a_chromosome_where_the_stain_is_uneven() -> None:
    """Bright ones at one side of the cell are chromosomes; strewn over it they are none."""
    rows = [(40 * (k // 6), 40 * (k % 6)) for k in range(36)]
    pieces = pieces_at(rows)
    for bright, kind in (([k for k in range(36) if k % 6 < 2], CHROMOSOME), ([0, 3, 11, 18, 22, 29, 32], NUCLEUS)):
        contrast = np.ones((300, 300), np.float32)
        for k in bright:
            contrast[pieces[k].box] = 4
        kinds = [piece.kind for piece in by_stain(pieces, contrast)]
        assert {kinds[k] for k in bright} == {kind}
        assert kinds.count(CHROMOSOME) == 36 - (kind == NUCLEUS) * len(bright)


def test_chromosomes_in_haze_are_no_nucleus(clean_q, nuclei_alone) -> None:
    """The ground between them is as bright as the palest of them: all is thick, and is cut all the same."""
    gray = clean_q.gray.astype(float)
    cell = binary_dilation(clean_q.first > 0, iterations=12)
    hazy = np.where(cell, np.maximum(gray, 0.35 * np.median(gray[clean_q.first > 0])), gray)
    cut = cut_field(np.clip(gaussian_filter(hazy, 0.7), 0, 255).astype(np.uint8))
    assert cut.nuclei == 0 and len(cut.chromosomes()) > 40
    assert cut_field(nuclei_alone).cells == ()
