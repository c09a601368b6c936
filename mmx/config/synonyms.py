"""Synonyms: other names that the literature has for options, each leading to the option."""

from __future__ import annotations

from collections.abc import Sequence

SYNONYMS: dict[str, dict[str, str]] = {
    "transfer": {
        **dict.fromkeys(
            ("finetune", "finetuning", "fine_tune", "fine_tuning", "full", "full_finetuning"),
            "parameter",
        ),
        "lp_ft": "parameter transfer.lp_ft=true",
        "wise_ft": "parameter transfer.wise_ft=best",
        **dict.fromkeys(("linear_probe", "linear_probing", "probe", "frozen"), "feature"),
        "lora": "adapter transfer.kind=lora",
        "none": "scratch",
        **dict.fromkeys(("multitask", "multi_task"), "joint"),
    },
}
"""Group to synonym to option, followed by the keys that make it what the synonym means."""


def find_synonym(group: str, name: str, known: Sequence[str]) -> tuple[str, str] | None:
    """Return the option that a synonym stands for, and what to type for it.

    Args:
        group: The group.
        name: The word, in any case, with hyphens or underscores.
        known: The options that the group has.
    """
    meant = SYNONYMS.get(group, {}).get(name.lower().replace("-", "_"))
    option = meant and meant.split()[0]
    return (option, f"{group}={meant}") if option in known and option else None
