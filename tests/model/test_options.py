"""Options after an architecture's name: those that shape a network pass within their range, all others are refused."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest
import timm
import torch

from bandbridge.errors import UserError
from bandbridge.files import write_json
from bandbridge.model.architectures import create_model, find_architecture
from bandbridge.model.classifier import open_classifier
from bandbridge.model.options import OPTIONS, split_name

#: What timm takes that is no shape: files, places, weights, other outputs, classes and channels that are not the set's.
NOT_SHAPES = [
    "pretrained", "checkpoint_path", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "features_only",
    "out_indices", "scriptable", "exportable", "no_jit", "num_classes", "in_chans", "device", "dtype",
    "pretrained_strict", "pretrained_filter_fn", "model_cfg", "feature_cfg", "kwargs_filter", "weight_init",
    "pretrained_model_args", "norm_layer", "block_fn", "no_such_option",
]  # fmt: skip


@pytest.mark.parametrize("option", NOT_SHAPES)
def test_what_does_not_shape_a_network_is_refused_by_name(option: str) -> None:
    with pytest.raises(UserError, match=rf"{option}=.*no option that shapes a network") as caught:
        find_architecture(f"test_vit+{option}=true")
    assert "embed_dim, final_chs" in caught.value.remedy and option not in caught.value.remedy.split()


def test_nothing_that_timm_itself_takes_is_among_the_options() -> None:
    own = {*inspect.signature(timm.create_model).parameters}
    own |= {*inspect.signature(timm.models.build_model_with_cfg).parameters}
    assert not own & set(OPTIONS)


def test_a_checkpoint_named_in_a_model_folder_is_not_opened(tmp_path: Path) -> None:
    """timm would read it: the name in ``config.json`` is a stranger's word."""
    preparation = {"size": 32}
    facts = {"classes": ["1", "2"], "preparation": preparation, "mean": [0.5] * 3, "std": [0.5] * 3}
    write_json(tmp_path / "config.json", facts | {"architecture": f"test_vit+checkpoint_path={tmp_path}/x.pt"})
    (tmp_path / "best.safetensors").write_bytes(b"")
    with pytest.raises(UserError, match="checkpoint_path"):
        open_classifier(tmp_path)


@pytest.mark.parametrize(
    "written",
    [
        "depth=0", "depth=1000000000", "depth=true", "depth=2.5", "depth=two", "embed_dim=-4", "mlp_ratio=NaN",
        "mlp_ratio=1e400", "mlp_ratio=true", "class_token=1", "pad_type=../x", "drop_rate=1.5", "drop_rate=[[[0]]]",
        f"depth={'1' * 300}", f"depth={'[' * 300}",
    ],
)  # fmt: skip
def test_values_out_of_their_range_are_refused(written: str) -> None:
    with pytest.raises(UserError, match=r"must be (a whole number from|a number from|true or false|one of)"):
        find_architecture(f"test_vit+{written}")


def test_several_faults_are_told_together() -> None:
    with pytest.raises(UserError, match=r"(?s)pretrained=true.*depth=0.*depth=2: is given twice"):
        split_name("test_vit+pretrained=true+depth=0+depth=2")


def test_a_name_without_end_is_refused() -> None:
    with pytest.raises(UserError, match="100009 letters") as caught:
        find_architecture("test_vit+" + "a" * 100_000)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("written", ["depth=128+embed_dim=8192+num_heads=8", "patch_size=1+embed_dim=4096+num_heads=8"])
def test_options_that_add_up_to_a_giant_are_refused_before_it_is_built(written: str) -> None:
    with pytest.raises(UserError, match="thousand million"):
        create_model(find_architecture(f"test_vit+{written}"), 3, 64, torch.Generator())


@pytest.mark.parametrize(
    "written",
    [
        "ViT-S/16+depth=1+embed_dim=48+num_heads=4+init_values=1e-5+reg_tokens=2+qk_norm=true+drop_path_rate=0.1",
        "Swin-T+embed_dim=24+window_size=4+drop_rate=0.2+mlp_ratio=2",
        "ResNet-34+base_width=64+stem_type=deep+stem_width=8+avg_down=true+global_pool=max+zero_init_last=false",
        "ConvNeXt-Tiny+kernel_sizes=5+use_grn=true+conv_bias=false+ls_init_value=0.1",
        "MobileNetV3-L+pad_type=same+bn_eps=1e-3+bn_momentum=0.2+act_layer=gelu",
        "rexnet_100+width_mult=0.5+depth_mult=0.5+initial_chs=8+final_chs=64",
    ],
)
def test_what_shapes_a_network_of_each_family_builds_it(written: str) -> None:
    with torch.no_grad():
        assert create_model(find_architecture(written), 3, 64, torch.Generator())(torch.zeros(2, 3, 64, 64)).shape == (
            2,
            3,
        )
