"""What of an encoder is trained: all of it, its last blocks, or a few numbers beside its weights.

Frozen layers keep their weights bit for bit, and frozen batch normalization uses its moving
averages also in training. LoRA leaves a matrix W as it is, and trains two narrow ones beside it:
the layer computes with W + A B, where A is (inputs, rank) and B is (rank, outputs).

Keras' files forget most of this: a layer inside a layer does not save whether it is trained, and a
layer with LoRA saves W + A B, with A = B = 0, from which no gradient leads away. So a method writes
`describe_training(encoder)` into its config, and the layers with LoRA save W, A and B apart.

References:
    - Hu et al.: LoRA, ICLR 2022: the queries and values of attention (section 4.2).
"""

import functools
import numbers
from collections.abc import Sequence
from typing import Any

import keras

from keras_ssl._keras import all_layers
from keras_ssl._validation import check_optional_count, check_positive
from keras_ssl.encoders.blocks import Blocks, Part, find_blocks

# Queries and values, as their layers are called in Keras and KerasHub.
_ATTENTION = ("query", "value", "query_dense", "value_dense")
_FACTORS = tuple(f"lora_{of}_{i}" for of in ("kernel", "embeddings") for i in "ab")
_TRAINS_LORA_ALONE = "trains_lora_alone"


def prepare_training(
    encoder: keras.Model,
    freeze: int | float | str | Sequence[str] | None = None,
    lora_rank: int | None = None,
) -> keras.Model:
    """Chooses what of an encoder is trained, in place. Call it before the method is made.

    Args:
        encoder: What `load_encoder` or `as_encoder` returned, with all its weights.
        freeze: What keeps its weights: a whole number k, the stem and the first k blocks (see
            `keras_ssl.encoders.find_blocks`); a number above 0 and up to 1, that fraction of the
            blocks, where 1.0 is the whole encoder; or names of layers, each with all layers inside
            it or whose names begin so. Default: nothing.
        lora_rank: Rank of LoRA. All weights are then frozen but the new ones, which the layers of
            queries and values get, or without attention all layers that can; those of the frozen
            part get none. 4 to 16 is usual. Default: no LoRA.

    Returns:
        `encoder` itself.

    Raises:
        ValueError: if `freeze` fits no layer or leaves LoRA none, or if the encoder already has a
            LoRA.

    Example:
        LoRA of rank 1 trains 8 + 4 numbers beside the first matrix, and 4 + 2 beside the second.

        >>> import keras
        >>> layers = [keras.layers.Dense(4), keras.layers.Dense(2)]
        >>> encoder = keras.Sequential([keras.Input((8,)), *layers])
        >>> sum(weight.numpy().size for weight in encoder.trainable_weights)
        46
        >>> encoder = prepare_training(encoder, lora_rank=1)
        >>> sum(weight.numpy().size for weight in encoder.trainable_weights)
        18
    """
    if not isinstance(encoder, keras.Model) or not encoder.built:
        raise TypeError(f"`encoder` must be a Keras model with weights. Received: {encoder!r}")
    check_optional_count("lora_rank", lora_rank)
    blocks = find_blocks(encoder)
    frozen = _frozen(blocks, freeze)
    adapted = _adapted(encoder, blocks, frozen, lora_rank)
    for part in frozen if lora_rank is None else blocks.parts:
        part.layer.trainable = False
    for layer in adapted:
        _enable_lora(layer, int(lora_rank or 0))
    return encoder


def describe_training(encoder: keras.layers.Layer) -> dict[str, Any]:
    """Returns what `restore_training` needs, in JSON's types; nothing if all layers are trained.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(4), keras.layers.Dense(2)]
        >>> encoder = keras.Sequential([keras.Input((8,)), *layers])
        >>> describe_training(encoder)
        {}
        >>> description = describe_training(prepare_training(encoder, freeze=1))
        >>> len(description["frozen"]), description["lora"]
        (1, {})
    """
    layers = all_layers(encoder)
    frozen = [i for i, layer in enumerate(layers) if not layer.trainable]
    # A LoRA that the user switched on is in the layer's config, and trains more than its factors.
    lora = {
        str(i): layer.lora_rank
        for i, layer in enumerate(layers)
        if has_lora(layer) and getattr(layer, _TRAINS_LORA_ALONE, False)
    }
    return {"frozen": frozen, "lora": lora} if frozen or lora else {}


def restore_training(encoder: keras.layers.Layer, description: dict[str, Any]) -> None:
    """Gives an encoder from a config the trained part of the one that was described.

    Example:
        >>> import keras
        >>> one, two = (
        ...     keras.Sequential([keras.Input((8,)), keras.layers.Dense(4), keras.layers.Dense(2)])
        ...     for _ in range(2)
        ... )
        >>> restore_training(two, describe_training(prepare_training(one, freeze=1)))
        >>> [layer.trainable for layer in two.layers]
        [False, True]
    """
    layers = all_layers(encoder)
    frozen, lora = set(description.get("frozen", ())), description.get("lora", {})
    for i, layer in enumerate(layers):  # Layers come before those inside them.
        if layer.trainable != (i not in frozen):
            layer.trainable = i not in frozen
    for i, rank in lora.items():
        _enable_lora(layers[int(i)], rank)


def has_lora(layer: keras.layers.Layer) -> bool:
    """Whether a layer has a LoRA."""
    return bool(getattr(layer, "lora_enabled", False))


def plain_encoder(encoder: keras.Model) -> keras.Model:
    """Returns an encoder with the same outputs without frozen layers and LoRA, to be saved alone.

    Args:
        encoder: An encoder, which stays as it is.

    Returns:
        A new model whose matrices are the sums W + A B, or `encoder` itself if all its layers are
        trained and it has no LoRA.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(4), keras.layers.Dense(2)]
        >>> encoder = keras.Sequential([keras.Input((8,)), *layers])
        >>> plain_encoder(encoder) is encoder
        True
        >>> plain = plain_encoder(prepare_training(encoder, freeze=1))
        >>> [layer.trainable for layer in plain.layers]
        [True, True]
    """
    if not describe_training(encoder) and not any(map(has_lora, all_layers(encoder))):
        return encoder
    config = _as_trained(keras.saving.serialize_keras_object(encoder))
    plain = keras.saving.deserialize_keras_object(config)
    for own, theirs in zip(all_layers(plain), all_layers(encoder), strict=True):
        store: dict[str, Any] = {}
        type(theirs).save_own_variables(theirs, store)  # Keras' own: it adds W and A B.
        if store:
            own.load_own_variables(store)
    return plain


def merged_encoder(encoder: keras.Model) -> keras.Model:
    """Returns an encoder with the same outputs without LoRA, for those who need its weights alone.

    Args:
        encoder: An encoder, which stays as it is.

    Returns:
        `plain_encoder(encoder)`; `encoder` itself if it has no LoRA, frozen or not.

    Raises:
        ValueError: if the encoder must be rebuilt and Keras cannot rebuild it from its config.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(4)]
        >>> encoder = keras.Sequential([keras.Input((8,)), *layers])
        >>> encoder = prepare_training(encoder, lora_rank=1)
        >>> len(encoder.weights), [weight.name for weight in merged_encoder(encoder).weights]
        (4, ['kernel', 'bias'])
    """
    if not any(has_lora(layer) for layer in all_layers(encoder)):
        return encoder
    try:
        return plain_encoder(encoder)
    except Exception as error:
        raise ValueError(
            "`encoder` must be one that Keras can rebuild from its config, to merge its LoRA. "
            f"Received: encoder={encoder.name!r}, of which Keras says: {error}"
        ) from error


def layer_factors(encoder: keras.layers.Layer, decay: float) -> list[tuple[keras.Variable, float]]:
    """Returns the factors on the learning rates of an encoder's weights, smaller toward the images.

    They are those of BEiT and MAE: 1 for the tail (and for all that is not the encoder), `decay`
    for the last block, `decay`^2 for the one before, and one power more for the stem than for the
    first block. `keras_ssl.optimizers.scale_learning_rates` uses them.

    Args:
        encoder: A built network.
        decay: Positive, at most 1. MAE and BEiT fine-tune ViT-B with 0.65 to 0.75.

    Example:
        >>> import keras
        >>> layers = [keras.layers.Dense(4), keras.layers.Dense(2)]
        >>> encoder = keras.Sequential([keras.Input((8,)), *layers])
        >>> [(variable.name, factor) for variable, factor in layer_factors(encoder, decay=0.5)]
        [('kernel', 0.25), ('bias', 0.25), ('kernel', 0.5), ('bias', 0.5)]

    References:
        - Bao et al.: BEiT, ICLR 2022, appendix H; He et al.: MAE, CVPR 2022, table 9.
    """
    if check_positive("layer_decay", decay) > 1:
        raise ValueError(f"`layer_decay` must be at most 1. Received: layer_decay={decay!r}")
    stem, blocks, tail = find_blocks(encoder)
    groups = [stem, *blocks, tail]
    return [
        (variable, decay ** (len(groups) - 1 - i))
        for i, group in enumerate(groups)
        for part in group
        for variable in part.layer.trainable_weights
    ]


# --- The frozen part -----------------------------------------------------------------------------


def _frozen(blocks: Blocks, freeze: Any) -> list[Part]:
    count = len(blocks.blocks)
    if freeze is None:
        return []
    if isinstance(freeze, numbers.Integral) and not isinstance(freeze, bool):
        if not 0 <= int(freeze) <= count:
            raise ValueError(
                f"`freeze` must be a number of blocks from 0 to {count}. Received: freeze={freeze}"
            )
    elif isinstance(freeze, numbers.Real) and not isinstance(freeze, bool):
        if not 0 < float(freeze) <= 1:
            raise ValueError(
                "`freeze` must be a fraction above 0 and up to 1, or a whole number of blocks. "
                f"Received: freeze={freeze!r}"
            )
        if freeze == 1:
            return blocks.parts
        freeze = round(float(freeze) * count)
    else:
        return _named(blocks, freeze)
    return [*blocks.stem, *(part for block in blocks.blocks[: int(freeze)] for part in block)]


def _named(blocks: Blocks, names: Any) -> list[Part]:
    names = [names] if isinstance(names, str) else names
    found: list[Part] = []
    if not isinstance(names, (list, tuple)) or not names:
        raise ValueError(
            "`freeze` must be a whole number of blocks, a fraction, or names of layers. "
            f"Received: freeze={names!r}"
        )
    for name in names:
        matching = [part for part in blocks.parts if _is_named(part.path, name)]
        if not matching:
            known = [part.path for part in blocks.parts]
            known = known if len(known) < 12 else [*known[:6], "...", *known[-5:]]
            raise ValueError(
                f"`freeze` must name layers of the encoder, such as {known}. Received: {name!r}"
            )
        found += [part for part in matching if part not in found]
    return found


def _is_named(path: str, name: Any) -> bool:
    """Whether a layer has a name, is inside one that has it, or its name begins so."""
    if not isinstance(name, str) or not name:
        return False
    ends = ("/", "_")
    steps = path.split("/")
    tails = ["/".join(steps[i:]) for i in range(len(steps))]
    return any(t == name or t.startswith(tuple(name + end for end in ends)) for t in tails)


# --- LoRA ----------------------------------------------------------------------------------------


def _adapted(
    encoder: keras.Model, blocks: Blocks, frozen: list[Part], rank: int | None
) -> list[keras.layers.Layer]:
    """Returns the layers that get a LoRA."""
    if rank is None:
        return []
    if any(has_lora(layer) for layer in all_layers(encoder)):
        raise ValueError(
            f"`lora_rank` must be None for an encoder that already has a LoRA. Received: {rank}"
        )
    parts = [part for part in blocks.parts if not any(part is other for other in frozen)]
    inner = [layer for part in parts for layer in all_layers(part.layer)]
    able = [layer for layer in inner if hasattr(layer, "enable_lora") and layer.weights]
    able = [x for x in able if not isinstance(x, keras.layers.Embedding)]
    able = [layer for layer in able if layer.name in _ATTENTION] or able
    if not able:
        raise ValueError(
            "`lora_rank` must be None for an encoder without a dense layer, attention or "
            f"convolution that is not frozen. Received: lora_rank={rank}, encoder={encoder.name!r}"
        )
    return able


def _enable_lora(layer: Any, rank: int) -> None:
    """Gives a layer a LoRA, of which alone it trains, and lets it save all of it."""
    layer.trainable = True
    if not has_lora(layer):  # A file of Keras may have restored it.
        layer.enable_lora(rank)
    setattr(layer, _TRAINS_LORA_ALONE, True)
    for variable in layer.weights:
        variable.trainable = any(variable is getattr(layer, name) for name in _factors(layer))
    _save_whole(layer)


def keep_lora_apart(encoder: keras.layers.Layer) -> None:
    """Makes files of an encoder hold W, A and B of its LoRA, and not only W + A B as Keras' do.

    From the sum, training could not go on: Keras loads A = B = 0, where both gradients vanish.
    """
    for layer in all_layers(encoder):
        # Of what is quantized, Keras also merges the scale.
        if has_lora(layer) and not getattr(layer, "quantization_mode", None):
            _save_whole(layer)


def _save_whole(layer: Any) -> None:
    # They are set on the layer, because Keras made it.
    layer.save_own_variables = functools.partial(_save, layer)
    layer.load_own_variables = functools.partial(_load, layer)


def _factors(layer: Any) -> list[str]:
    """The names of A and B."""
    return [name for name in _FACTORS if hasattr(layer, name)]


def _save(layer: Any, store: Any) -> None:
    type(layer).save_own_variables(layer, store)
    for name in _factors(layer):
        store[name] = getattr(layer, name)
    store["kernel"] = _frozen_kernel(layer)


def _load(layer: Any, store: Any) -> None:
    saved = {name: store[name] for name in store.keys()}  # noqa: SIM118 (not a Mapping)
    apart = {name: saved.pop(name) for name in (*_FACTORS, "kernel") if name in saved}
    type(layer).load_own_variables(layer, saved)
    if apart:
        _frozen_kernel(layer).assign(apart["kernel"])
        for name in _factors(layer):
            getattr(layer, name).assign(apart[name])


def _frozen_kernel(layer: Any) -> keras.Variable:
    """Returns W. The layer's attribute `kernel` is W + A B."""
    return next(v for v in layer.weights if v.name in ("kernel", "embeddings"))


def _as_trained(config: Any) -> Any:
    """Returns the config of layers of which everything is trained, and none has a LoRA."""
    if isinstance(config, dict):
        # A weight that is made for a frozen layer is not trained when the layer is thawed.
        return {
            key: True if key == "trainable" else _as_trained(value)
            for key, value in config.items()
            if key not in ("lora_rank", "lora_alpha")
        }
    return [_as_trained(value) for value in config] if isinstance(config, list) else config
