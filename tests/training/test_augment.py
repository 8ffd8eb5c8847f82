"""Augmentation against torchvision's blur and plain flips."""

import pytest
import torch
from torchvision.transforms.v2.functional import gaussian_blur as torchvision_blur

from bandbridge.training.augment import augment, flip, gaussian_blur, shrink
from bandbridge.training.recipe import Augmentation

PLAIN = Augmentation(flip_horizontal=0, flip_vertical=0, blur=0)


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
