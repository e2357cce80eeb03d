"""An adapter trained in a moment, to be stopped where a test wants it."""

from __future__ import annotations

from augment.settings import AdaptSettings, ObjectiveSettings
from augment.training.adapter import AdaptTask
from manifests.progress import StopRequested

SHORT = AdaptSettings(
    steps=8,
    domain_steps=10,
    batch=4,
    warmup=1,
    rank=2,
    alpha=2,
    learning_rate=2e-3,
    checkpoint_every=2,
    validate_every=4,
    bf16=False,
    prior_share=0.0,
    objective=ObjectiveSettings(lesion=0.2, dice=0.1),
)
TASK = AdaptTask("mel", 0, "data")


def stop_after(steps: int):
    def progress(done: int, total: int, **figures: float | str) -> None:
        if done >= steps:
            raise StopRequested

    return progress
