"""Settings of the generator: base, adapters, objectives, sampling and synthesis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator, model_validator

from manifests.settings import Frozen

WAYS = ("text", "variation", "skin", "outline")
"""Ways to draw a pair."""


class CheckpointSettings(Frozen):
    """Which Stable-Diffusion-layout checkpoint the adapters are trained on."""

    path: str = Field("shipped", description="'shipped', a local folder or .safetensors file, or a hub id")
    revision: str | None = Field(None, description="pinned hub revision")
    resolution: int = Field(128, description="side of the square images it draws, in pixels")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("bfloat16", description="of the denoiser in sampling")


class ObjectiveSettings(Frozen):
    """Weights of the named loss terms; 0 leaves a term out, as it does by default with those that earned nothing."""

    image: float = Field(1.0, ge=0)
    mask: float = Field(0.5, ge=0)
    lesion: float = Field(0.0, ge=0, description="image error inside the lesion, per lesion area")
    dice: float = Field(0.0, ge=0, description="Dice of the decoded clean-mask estimate at low noise")
    dice_max_noise: float = Field(0.5, gt=0, le=1, description="highest noise share at which dice counts")
    min_snr_gamma: float | None = Field(5.0, description="None weighs all noise levels alike")


class PretrainObjectiveSettings(ObjectiveSettings):
    """Those that the shipped base was trained with."""

    lesion: float = Field(0.2, ge=0, description="image error inside the lesion, per lesion area")
    dice: float = Field(0.1, ge=0, description="Dice of the decoded clean-mask estimate at low noise")
    min_snr_gamma: float | None = Field(None, description="None weighs all noise levels alike")


class DistanceSettings(Frozen):
    """How a mask becomes latent channels: a signed distance, in one channel or, by space to depth, in four."""

    name: Literal["signed_distance", "signed_distance_s2d"] = "signed_distance_s2d"
    clip: float = Field(0.125, gt=0, le=1, description="distance that maps to 1, as a share of the side")


class CodecSettings(Frozen):
    """How a mask becomes latent channels of a base that has none for it."""

    name: Literal["signed_distance", "signed_distance_s2d", "vae"] = Field(
        "signed_distance_s2d", description="vae: the autoencoder's code of the mask's picture"
    )
    clip: float = Field(0.05, gt=0, le=1, description="distance that maps to 1, as a share of the side")


class PretrainSettings(Frozen):
    """How the shipped base is trained."""

    start: str | None = Field(
        None, description="a joint base to go on from, 'shipped' or a local folder; none starts from random weights"
    )
    steps: int = Field(7000, ge=1)
    decoder_steps: int = Field(4500, ge=1)
    batch: int = Field(64, ge=1)
    decoder_batch: int = Field(16, ge=1)
    learning_rate: float = 5e-4
    hold: int = Field(256_000, ge=1, description="pairs seen at the full rate, which then falls by the inverse root")
    decoder_learning_rate: float = 2e-4
    warmup: int = 200
    averages: tuple[float, ...] = Field(
        (0.05, 0.13), min_length=1, description="lengths of the averages of the weights, as shares of the training"
    )
    average: float = Field(0.05, description="length of the one that becomes the base")
    decoder_features: float = Field(0.0, ge=0, description="weight of the decoder's error in a network's features")
    decoder_teacher: str | None = Field(
        None, description="that network: a .safetensors file of torchvision's mobilenet_v2"
    )
    decoder_average: float = Field(0.999, description="decay of the decoder's average")
    prompt_dropout: float = 0.1
    zooms: int = Field(5, ge=1, description="views per flip and turn in the latent cache: one whole, the others crops")
    whole: float = Field(0.5, ge=0, le=1, description="share of whole views among those drawn")
    drawn_pairs: int = Field(0, ge=0, description="pairs of a phantom that are learned too, by prompts of their own")
    drawn_share: float = Field(0.05, ge=0, lt=1, description="share of these among the pairs drawn")
    latent_channels: int = 32
    autoencoder_widths: tuple[int, ...] = (16, 32, 64, 128)
    autoencoder_layers: int = 2
    unet_widths: tuple[int, ...] = (96, 160, 224)
    text_width: int = 128
    checkpoint_every: int = 250
    snapshot_every: int = Field(0, ge=0, description="steps between kept copies of the averages, in fp16; 0 for none")
    compile: bool = Field(False, description="compile the denoiser: minutes at first, then faster steps")
    threads: int = 1
    objective: PretrainObjectiveSettings = PretrainObjectiveSettings()
    codec: DistanceSettings = DistanceSettings()

    @model_validator(mode="after")
    def _the_average_is_one_of_those_kept(self) -> PretrainSettings:
        if self.average not in self.averages:
            raise ValueError(f"average {self.average:g} is none of averages, {self.averages}; name one of them")
        return self


class AdaptSettings(Frozen):
    """How the domain adapter and the class adapters are trained; what is none follows from the number of pairs."""

    domain: Literal["auto", "always", "never"] = Field(
        "auto",
        description="whether class adapters of a joint base begin at a domain adapter of all pairs; auto: where "
        "classes or pictures are not those that the base knows. A base without mask channels always has one",
    )
    steps: int | None = Field(None, ge=1, description="of a class adapter, at most")
    domain_steps: int | None = Field(None, ge=1, description="of the domain adapter, at most")
    batch: int = Field(16, ge=1)
    learning_rate: float | None = Field(
        None, gt=0, description="none: 0.001 for the shipped base, less for few pairs; a large base wants less"
    )
    warmup: int = Field(20, ge=0)
    rank: int | None = Field(None, ge=1, description="that of the domain adapter where one is begun at")
    alpha: int | None = Field(None, ge=1, description="none: the rank")
    prior_share: float | None = Field(
        None, ge=0, lt=1, description="of each batch drawn by the adapter's start, so that few pairs are not copied"
    )
    targets: tuple[str, ...] = Field(
        ("conv2",), description="modules that get LoRA; to_q, to_k, to_v and to_out.0 are those of the attention"
    )
    rslora: bool = False
    dora: bool = False
    ema_decay: float = 0.98
    prompt_dropout: float = Field(0.1, ge=0, lt=1)
    gradient_clip: float = Field(1.0, gt=0)
    gradient_checkpointing: bool = False
    bf16: bool = True
    checkpoint_every: int = Field(50, ge=1)
    validate_every: int = Field(75, ge=1)
    patience: int = Field(2, ge=1, description="validations without improvement before a class stops")
    holdout: float = Field(0.1, gt=0, lt=0.5, description="share of a class's training groups kept for its loss")
    min_pairs: int = Field(8, ge=2)
    attributes: tuple[Literal["age_group", "sex", "site", "skin_tone"], ...] = Field(
        (), description="what prompts tell beside the class, where a pair has it; the shipped base never learned these"
    )
    objective: ObjectiveSettings = ObjectiveSettings()
    codec: CodecSettings = CodecSettings()

    @model_validator(mode="after")
    def _terms_fit_the_codec(self) -> AdaptSettings:
        if self.codec.name == "vae" and (self.objective.lesion or self.objective.dice):
            raise ValueError("objective.lesion and objective.dice need a signed distance: set both to 0 for codec vae")
        return self


class SamplingSettings(Frozen):
    """How pairs are drawn."""

    steps: int = Field(20, ge=1, le=1000)
    spacing: float = Field(
        2.5, ge=1, le=4, description="of the noise levels: 1 even; the greater, the more steps at high noise"
    )
    guidance: float = Field(1.5, ge=0, description="1 goes without")
    guidance_rescale: float = Field(0.0, ge=0, le=1)
    guidance_above: float = Field(
        0.3, ge=0, le=1, description="share of the noise levels, from the quietest, that go without guidance"
    )
    guidance_below: float = Field(
        1.0, ge=0, le=1, description="share of the noise levels, from the quietest, beyond which none is guided"
    )
    sampler: Literal["dpm++", "dpm++sde", "ddim", "euler"] = "dpm++"
    negative_prompt: str = ""
    batch: int = Field(16, ge=1)


class SynthesisSettings(Frozen):
    """How many pairs are drawn for which class, and when a class gives up."""

    balance: str | int | float | dict[str, int] = Field(
        "max", description="max, median, a number per class, a ratio of the real count, or numbers by class"
    )
    cap: float | None = Field(None, gt=0, description="at most this many generated pairs per real one")
    shard_size: int = Field(64, ge=1, description="candidates in one shard")
    candidate_limit: float = Field(4.0, ge=1, description="candidates per wanted pair before a class gives up")
    detail: float = Field(
        1.0,
        ge=0,
        le=1,
        description="share of what is finer than the shipped generator draws that comes from a real training pair of "
        "the class; 0 leaves pictures as they were drawn",
    )
    ways: dict[str, float | dict[str, float]] = Field(
        {"variation": 1.0},
        description="shares of text, variation (of a real pair), skin (painted into a real picture of another class) "
        "and outline (to a real mask, turned and bent); a class name with a mix of its own overrides them",
    )
    variation_levels: tuple[float, ...] = Field(
        (0.85,), min_length=1, description="shares of the noise that variations begin at, each as often"
    )
    skin_level: float = Field(1.0, gt=0, le=1, description="share of the noise that a painted lesion begins at")
    gates: bool = True

    @field_validator("variation_levels")
    @classmethod
    def _levels_are_shares(cls, levels: tuple[float, ...]) -> tuple[float, ...]:
        if not all(0 < level <= 1 for level in levels):
            raise ValueError("each level is a share of the noise, above 0 and at most 1")
        return levels

    @field_validator("ways")
    @classmethod
    def _mixes_have_shares(cls, ways: dict[str, float | dict[str, float]]) -> dict[str, float | dict[str, float]]:
        every = {name: share for name, share in ways.items() if not isinstance(share, Mapping)}
        for where, mix in [("", every), *((f" of {dx}", mix) for dx, mix in ways.items() if isinstance(mix, Mapping))]:
            for way, share in mix.items():
                if way not in WAYS:
                    raise ValueError(f"{way!r}{where} is no way to draw a pair; name {', '.join(WAYS)}")
                if not 0 <= share < float("inf"):
                    raise ValueError(f"the share of {way}{where} is {share}; give a number of at least 0")
            if (where or mix) and not any(mix.values()):
                raise ValueError(f"the shares{where} are all 0; give one way at least a share")
        return ways
