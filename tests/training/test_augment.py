"""Augmentation against torchvision's blur and plain flips."""

import pytest
import torch
from torchvision.transforms.v2.functional import gaussian_blur as torchvision_blur

from bandbridge.training.augment import augment, flip, gaussian_blur, shrink
from bandbridge.training.recipe import Augmentation

PLAIN = Augmentation(flip_horizontal=0, flip_vertical=0, blur=0, without_scale=0)


def images(count: int = 6, size: int = 24) -> torch.Tensor:
    return torch.rand((count, 1, size, size), generator=torch.Generator().manual_seed(0))


def raw_images() -> torch.Tensor:
    return (255 * images()).byte()


def test_blur_equals_torchvisions_image_by_image():
    """In the interior; torchvision reflects at the border where this repeats it."""
    batch, sigma = images(4), torch.tensor([0.5, 1.0, 1.5, 2.0])
    blurred = gaussian_blur(batch, sigma, largest_sigma=2.0)
    for one, result, value in zip(batch, blurred, sigma, strict=True):
        expected = torchvision_blur(one, kernel_size=[13, 13], sigma=[value.item()] * 2)
        torch.testing.assert_close(result[:, 6:-6, 6:-6], expected[:, 6:-6, 6:-6], rtol=0, atol=1e-6)


def test_a_sigma_of_zero_changes_nothing_and_blur_keeps_a_flat_image():
    batch = images(2)
    torch.testing.assert_close(gaussian_blur(batch, torch.zeros(2), 1.0), batch, rtol=0, atol=1e-7)
    flat = torch.full((2, 1, 16, 16), 0.3)
    torch.testing.assert_close(gaussian_blur(flat, torch.tensor([1.0, 2.0]), 2.0), flat)


def test_flips_reverse_the_chosen_images_only():
    batch, chosen = images(3), torch.tensor([True, False, True])
    flipped = flip(batch, chosen, dimension=3)
    assert torch.equal(flipped[0], batch[0].flip(2)) and torch.equal(flipped[1], batch[1])


def test_each_image_draws_for_itself_at_the_stated_rate():
    batch = torch.tensor([0, 255], dtype=torch.uint8).view(1, 1, 1, 2).expand(4000, 1, 1, 2).expand(-1, -1, 2, -1)
    settings = Augmentation(flip_horizontal=0.3, flip_vertical=0, blur=0)
    result = augment(batch, settings, torch.Generator().manual_seed(1))
    # 4000 draws at 0.3: four standard deviations are 0.029.
    assert (result[:, 0, 0, 0] == 1).double().mean().item() == pytest.approx(0.3, abs=0.029)


def test_the_generator_decides_and_nothing_else():
    batch, settings = raw_images(), Augmentation()
    first = augment(batch, settings, torch.Generator().manual_seed(5))
    torch.rand(3)
    assert torch.equal(first, augment(batch, settings, torch.Generator().manual_seed(5)))
    assert not torch.equal(first, augment(batch, settings, torch.Generator().manual_seed(6)))


def test_the_stream_does_not_depend_on_the_settings():
    one, other = (torch.Generator().manual_seed(5) for _ in range(2))
    augment(raw_images(), PLAIN, one)
    augment(raw_images(), Augmentation(), other)
    assert torch.equal(torch.rand(4, generator=one), torch.rand(4, generator=other))


def test_shrinking_averages_and_leaves_the_full_size_alone():
    batch = images(2)
    assert shrink(batch, 24) is batch
    flat = torch.full((2, 1, 32, 32), 0.3)
    torch.testing.assert_close(shrink(flat, 20), torch.full((2, 1, 20, 20), 0.3))
    # Antialiased: a wave that the small grid cannot hold becomes grey.
    wave = (torch.arange(64) % 2).float().expand(1, 1, 64, 64)
    assert (shrink(wave, 16)[..., 2:-2] - 0.5).abs().max() < 0.05


def test_a_part_of_a_batch_is_augmented_as_within_the_whole():
    batch, settings = raw_images(), Augmentation()
    whole = augment(batch, settings, torch.Generator().manual_seed(5))
    part = augment(batch[2:5], settings, torch.Generator().manual_seed(5), first=2, batch=len(batch))
    assert torch.equal(part, whole[2:5])


def two_views(count: int = 6, side: int = 64) -> torch.Tensor:
    """An upright bar close up, and the same bar less than half as large: uint8 [count, 2, side, side]."""
    images = torch.zeros(count, 2, side, side, dtype=torch.uint8)
    images[:, 0, 4:60, 27:37] = 200
    images[:, 1, 20:44, 30:34] = 200
    return images


def changed(seed: int = 0, **settings: float) -> torch.Tensor:
    augmentation = PLAIN.model_copy(update=settings)
    return augment(two_views(), augmentation, torch.Generator().manual_seed(seed))


def extents(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows and columns that are more than half as bright as the bar, int64 [B, V] each."""
    bright = images > 100 / 255
    return bright.any(3).sum(2), bright.any(2).sum(2)


def test_without_further_settings_two_views_are_only_widened_to_floats() -> None:
    torch.testing.assert_close(changed(), two_views().float() / 255)


def test_the_share_without_scale_loses_the_second_view_alone() -> None:
    images = augment(two_views(4000), PLAIN.model_copy(update={"without_scale": 0.3}), torch.Generator().manual_seed(1))
    empty = ~images[:, 1].any(2).any(1)
    assert abs(empty.float().mean().item() - 0.3) < 0.03
    torch.testing.assert_close(images[:, 0], two_views(4000)[:, 0].float() / 255)


def test_the_aspect_widens_both_views_and_leaves_their_height() -> None:
    rows, columns = extents(changed(aspect=0.4))
    assert (rows == torch.tensor([56, 24])).all()
    factor = columns / torch.tensor([10, 4])
    assert factor[:, 0].max() > 1.1 and factor[:, 0].min() < 0.9
    assert (factor[:, 0] - factor[:, 1]).abs().max() < 0.6  # four pixels are coarse


def test_the_scale_of_the_cell_changes_the_second_view_alone() -> None:
    rows, columns = extents(changed(cell_scale=0.3))
    assert (rows[:, 0] == 56).all() and (columns[:, 0] == 10).all()
    assert rows[:, 1].max() > 26 and rows[:, 1].min() < 22


def test_a_turn_is_by_the_angle_that_was_drawn_and_the_same_in_both_views() -> None:
    images = changed(rotation=20.0)
    draws = torch.rand((10, 6), generator=torch.Generator().manual_seed(0))
    for view in (0, 1):
        for image, drawn in zip(images[:, view], draws[6], strict=True):
            rows, columns = torch.nonzero(image > 0.4, as_tuple=True)
            rows, columns = rows - rows.float().mean(), columns - columns.float().mean()
            slope = torch.atan2((rows * columns).sum(), (rows * rows).sum())
            assert abs(float(torch.rad2deg(slope))) == pytest.approx(abs(20 * (2 * float(drawn) - 1)), abs=2.5)


def test_a_bend_moves_the_ends_to_one_side_and_the_middle_to_the_other() -> None:
    images = changed(bend=0.4)
    columns = torch.arange(64.0)
    for image in images[:, 0]:
        middle = [float((image[row] * columns).sum() / image[row].sum()) for row in (8, 32, 55)]
        ends = (middle[0] + middle[2]) / 2
        assert abs(middle[0] - middle[2]) < 1 and (ends - 31.5) * (middle[1] - 31.5) <= 0
    spread = [float((image[8] * columns).sum() / image[8].sum()) for image in images[:, 0]]
    assert max(spread) - min(spread) > 3


def test_a_tone_curve_keeps_black_and_white_and_the_order() -> None:
    steps = torch.arange(0, 256, dtype=torch.uint8).view(1, 1, 16, 16).repeat(8, 2, 1, 1)
    images = augment(steps, PLAIN.model_copy(update={"tone": 0.9}), torch.Generator().manual_seed(3)).flatten(2)
    assert (images[:, :, 0] == 0).all() and torch.allclose(images[:, :, -1], torch.ones(8, 2))
    assert (images.diff(dim=2) >= 0).all() and images[:, 0, 128].std() > 0.05


def test_a_published_batch_draws_what_it_always_drew() -> None:
    """The new settings are for two views: of one view the stream of draws, and the record, are as before."""
    images = two_views()[:, :1]
    generator = torch.Generator().manual_seed(5)
    augment(images, Augmentation(aspect=0.3, rotation=10, bend=0.3, tone=0.5), generator)
    other = torch.Generator().manual_seed(5)
    torch.rand((4, 6), generator=other)
    assert torch.equal(generator.get_state(), other.get_state())
    assert set(Augmentation().model_dump()) == {"flip_horizontal", "flip_vertical", "blur", "blur_sigma"}
    assert Augmentation(bend=0.2).model_dump()["bend"] == 0.2
