"""Learning rates of parameters, as multiples of the optimiser's."""

from __future__ import annotations

from collections.abc import Collection

from mmx.transfer.depths import Depths


def assign_rates(
    copied: Collection[str],
    fresh: Collection[str],
    depths: Depths,
    *,
    copied_rate: float,
    head_rate: float,
    layer_decay: float,
) -> dict[str, float]:
    """Return the rate of each parameter; layers near the input learn more slowly.

        rate(d) = copied_rate · layer_decay^(K - 1 - d),  d = 0 … K - 1 from the input on

    Fresh parameters learn at ``head_rate`` wherever they are, and copied parameters outside the
    encoders at ``copied_rate``.

    Args:
        copied: Trainable parameters from the source.
        fresh: All other trainable parameters.
        depths: Modality to the tensors of its encoder at each of its K depths.
        copied_rate: Rate of the topmost copied parameters.
        head_rate: Rate of the fresh parameters.
        layer_decay: Factor per depth, in (0, 1].

    Reference: Howard and Ruder 2018, arXiv 1801.06146, who call it discriminative fine-tuning.
    """
    # Parameters outside the encoders first; the loop below sets those of copied encoders.
    found = dict.fromkeys(fresh, head_rate) | dict.fromkeys(copied, copied_rate)
    for layers in depths.values():
        for above, names in enumerate(reversed(layers)):  # above = K - 1 - d
            # The topmost depth has exponent 0, and so the full rate (Howard and Ruder 2018).
            slower = copied_rate * layer_decay**above
            found.update({name: slower for name in names if name in copied})
    return found
