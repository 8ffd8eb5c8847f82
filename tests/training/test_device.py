"""The device: what is not there is said in a sentence."""

import pytest
import torch

from bandbridge.errors import UserError
from bandbridge.training.device import open_fabric


@pytest.mark.parametrize(("device", "said"), [("gpu0", "no device 'gpu0'"), ("cuda", "no CUDA"), ("mps", "no Apple")])
def test_a_device_that_is_not_there_is_refused(monkeypatch, device, said):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=said) as caught:
        open_fabric(device)
    assert "--device" in caught.value.remedy
