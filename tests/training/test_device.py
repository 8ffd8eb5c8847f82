"""The device: what is not there is said in a sentence."""

import pytest
import timm
import torch

from bandbridge.errors import UserError
from bandbridge.training import device
from bandbridge.training.device import gains_by_bf16, open_fabric


@pytest.mark.parametrize(("device", "said"), [("gpu0", "no device 'gpu0'"), ("cuda", "no CUDA"), ("mps", "no Apple")])
def test_a_device_that_is_not_there_is_refused(monkeypatch, device, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=said) as caught:
        open_fabric(device)
    assert "--device" in caught.value.remedy


@pytest.mark.parametrize(
    ("architecture", "gains"),
    [
        ("test_resnet", True),
        ("test_vit", True),
        ("resnext50_32x4d", True),
        ("convnext_atto", True),
        ("mobilenetv3_small_050", False),
        ("efficientnet_lite0", False),
    ],
)
def test_bf16_is_for_cpus_that_have_it_and_models_that_gain(monkeypatch, architecture, gains):
    model = timm.create_model(architecture)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: True)
    assert gains_by_bf16(model) == gains and not gains_by_bf16(None)
    chosen = "bf16-mixed" if gains else "32-true"
    assert open_fabric("cpu", "auto", model)._precision.precision == chosen
    assert open_fabric("cpu", "fp32", model)._precision.precision == "32-true"
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    assert not gains_by_bf16(model)


@pytest.mark.parametrize("granted", [1, 3])
def test_cores_that_this_process_may_not_use_are_no_devices(monkeypatch, granted):
    monkeypatch.setattr(device, "usable_cores", lambda: granted, raising=False)
    with pytest.raises(UserError, match=f"of the kind core this program sees {granted}") as caught:
        open_fabric("cpu", devices=granted + 1)
    assert f"--devices-per-run {granted} or fewer" in caught.value.remedy
