"""Which options may stand after an architecture's name: those that shape a network, each with its range.

A name comes from a study file, or from a model folder of a stranger. What timm would take beside these options names
files to load, weights to start from or a place to keep them; none of that is passed on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

from bandbridge.errors import ManyErrors, UserError

Option = bool | int | float | str
#: No name of the paper or of timm comes near it.
_LONGEST_NAME = 400
_REMEDY = "Write build options after the name, such as 'mobilenetv2_100+pad_type=same'."


@dataclass(frozen=True)
class _Whole:
    lowest: int
    highest: int

    def __contains__(self, value: Option) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.lowest <= value <= self.highest

    def __str__(self) -> str:
        return f"a whole number from {self.lowest} to {self.highest}"


@dataclass(frozen=True)
class _Number:
    lowest: float
    highest: float

    def __contains__(self, value: Option) -> bool:
        if isinstance(value, bool | str):
            return False
        return math.isfinite(value) and self.lowest <= value <= self.highest

    def __str__(self) -> str:
        return f"a number from {self.lowest:g} to {self.highest:g}"


@dataclass(frozen=True)
class _YesNo:
    def __contains__(self, value: Option) -> bool:
        return isinstance(value, bool)

    def __str__(self) -> str:
        return "true or false"


@dataclass(frozen=True)
class _OneOf:
    words: tuple[str, ...]

    def __contains__(self, value: Option) -> bool:
        return value in self.words

    def __str__(self) -> str:
        return f"one of {', '.join(self.words)}"


_Range = _Whole | _Number | _YesNo | _OneOf
_CHANNELS, _SHARE = _Whole(1, 8192), _Number(0, 0.95)
_ACTIVATIONS = _OneOf(("relu", "relu6", "gelu", "silu", "swish", "mish", "elu", "leaky_relu", "hard_swish"))
_POOLS = _OneOf(("avg", "max", "avgmax", "catavgmax", "token", "map"))
_STEMS = _OneOf(("deep", "deep_tiered", "patch", "overlap", "overlap_tiered"))

#: By the name that timm gives it. Each shapes a network of one of the families; none names a file or a place.
OPTIONS: dict[str, _Range] = {
    "act_layer": _ACTIVATIONS,
    "always_partition": _YesNo(),
    "attn_drop_rate": _SHARE,
    "avg_down": _YesNo(),
    "base_width": _CHANNELS,
    "block_reduce_first": _Whole(1, 16),
    "bn_eps": _Number(1e-12, 1),
    "bn_momentum": _Number(0, 1),
    "cardinality": _Whole(1, 1024),
    "class_token": _YesNo(),
    "conv_bias": _YesNo(),
    "conv_mlp": _YesNo(),
    "depth": _Whole(1, 128),
    "depth_mult": _Number(0.05, 8),
    "down_kernel_size": _Whole(1, 31),
    "drop_block_rate": _SHARE,
    "drop_path_rate": _SHARE,
    "drop_rate": _SHARE,
    "dynamic_img_pad": _YesNo(),
    "dynamic_img_size": _YesNo(),
    "embed_dim": _CHANNELS,
    "final_chs": _CHANNELS,
    "final_norm": _YesNo(),
    "fix_stem": _YesNo(),
    "global_pool": _POOLS,
    "group_size": _Whole(1, 1024),
    "head_bias": _YesNo(),
    "head_dim": _Whole(1, 1024),
    "head_hidden_size": _CHANNELS,
    "head_norm": _YesNo(),
    "head_norm_first": _YesNo(),
    "img_size": _Whole(8, 2048),
    "init_values": _Number(0, 10),
    "initial_chs": _CHANNELS,
    "kernel_sizes": _Whole(1, 31),
    "ls_init_value": _Number(0, 10),
    "mlp_ratio": _Number(0.001, 16),
    "no_embed_class": _YesNo(),
    "norm_eps": _Number(1e-12, 1),
    "num_features": _CHANNELS,
    "num_heads": _Whole(1, 128),
    "output_stride": _Whole(1, 64),
    "pad_type": _OneOf(("same", "valid", "symmetric")),
    "patch_drop_rate": _SHARE,
    "patch_size": _Whole(1, 256),
    "pool_include_prefix": _YesNo(),
    "pos_drop_rate": _SHARE,
    "pre_norm": _YesNo(),
    "proj_bias": _YesNo(),
    "proj_drop_rate": _SHARE,
    "qk_norm": _YesNo(),
    "qkv_bias": _YesNo(),
    "reg_tokens": _Whole(0, 64),
    "replace_stem_pool": _YesNo(),
    "se_from_exp": _YesNo(),
    "stem_size": _CHANNELS,
    "stem_type": _STEMS,
    "stem_width": _CHANNELS,
    "strict_img_size": _YesNo(),
    "use_grn": _YesNo(),
    "width_mult": _Number(0.05, 16),
    "window_size": _Whole(1, 256),
    "zero_init_last": _YesNo(),
}


def split_name(name: str) -> tuple[str, tuple[tuple[str, Option], ...]]:
    """Return the architecture that ``name`` begins with, and the options after it, sorted.

    Raises :class:`UserError` for an option that is not one of ``OPTIONS``, lies out of its range or stands there
    twice; :class:`ManyErrors` for several.
    """
    if len(name) > _LONGEST_NAME:
        raise UserError(f"'{name[:60]}...' has {len(name)} letters: no architecture is called so.", _REMEDY)
    base, *written = name.strip().split("+")
    options: dict[str, Option] = {}
    problems = []
    for text in written:
        key, value = _parse(text, name)
        if problem := "is given twice" if key in options else _fault_of(key, value):
            problems.append(f"{key}={text.partition('=')[2]}: {problem}")
        options[key] = value
    if problems:
        _refuse(name, problems, any(key not in OPTIONS for key in options))
    return base.strip(), tuple(sorted(options.items()))


def _parse(text: str, name: str) -> tuple[str, Option]:
    key, equals, value = text.partition("=")
    if not equals or not key.isidentifier():
        raise UserError(f"'{text}' in the architecture '{name}' is not of the form option=value.", _REMEDY)
    try:
        # The record of a run has Python's True and False, of which the texts would both be true.
        parsed = json.loads(value.lower() if value in ("True", "False") else value)
    except (ValueError, RecursionError):  # a word, or a number of more digits than Python reads
        parsed = value
    return key, parsed if isinstance(parsed, bool | int | float) else value


def _fault_of(key: str, value: Option) -> str:
    if key not in OPTIONS:
        return "no option that shapes a network"
    return "" if value in OPTIONS[key] else f"must be {OPTIONS[key]}"


def _refuse(name: str, problems: Sequence[str], is_unknown: bool) -> None:
    remedy = f"The options are: {', '.join(OPTIONS)}." if is_unknown else "Correct what stands after the name."
    if len(problems) == 1:
        raise UserError(f"the architecture '{name}': {problems[0]}.", remedy)
    raise ManyErrors(f"the architecture '{name}':", problems, remedy)
