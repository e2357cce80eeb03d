"""The shipped base from scratch: linear code, decoder, joint denoiser and text encoder, into one base folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import safe_open

from augment.base.denoiser import DenoiserParts, make_scheduler, make_unet
from augment.base.folder import CODEC_FILE, BaseFolder, check_base, image_encoder
from augment.base.patch_code import PATCH, LinearCode, autoencoder_with, fit_linear_code
from augment.base.text_encoder import make_text_encoder, make_tokenizer
from augment.mask_codec import distance_codec_from
from augment.prompts import drawn_prompt_for
from augment.settings import PretrainSettings
from augment.training.decoder import train_decoder
from augment.training.denoiser import train_denoiser
from augment.training.device import training_device
from augment.training.draws import PromptedPairs, TrainingPairs
from augment.training.latents import DIHEDRAL, LatentCache, build_latent_cache
from augment.training.snapshots import load_snapshot
from augment.training.state import TrainingDiverged, TrainingState
from manifests.errors import BadInput, EvendermError
from manifests.files import write_json
from manifests.pairs import PairArrays
from manifests.phantom.draw import phantom_arrays
from manifests.progress import Progress, no_progress

Part = Literal["decoder", "denoiser"]
_FIXED = {
    "decoder": {"latent_channels", "autoencoder_widths", "autoencoder_layers"},
    "denoiser": {"latent_channels", "unet_widths", "text_width", "averages", "codec"},
}


@dataclass(frozen=True)
class Pretraining:
    """One base in the making.

    pairs: the training split, at least `side` px; work: checkpoints and the latent cache; data_digest: of the
    real manifest; start: a joint base to go on from, whose autoencoder, tokenizer and codec are kept; None starts
    from random weights. The decoder and the denoiser may be trained by two processes side by side.
    """

    pairs: PairArrays
    side: int
    settings: PretrainSettings
    seed: int
    data_digest: str
    work: Path
    start: BaseFolder | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """What there is to train."""
        return ("decoder", "denoiser") if self.start is None else ("denoiser",)

    def train(self, part: Part, progress: Progress = no_progress) -> TrainingState:
        """Trains one part to its end, from wherever its checkpoint stands; EvendermError if it diverges."""
        try:
            return self._trained(part, progress)
        except TrainingDiverged as error:
            rate = "pretrain.decoder_learning_rate" if part == "decoder" else "pretrain.learning_rate"
            raise EvendermError(
                f"{self.work}: training the {part} diverged at step {error.step}; the checkpoint before it is kept, "
                f"lower {rate} and run again"
            ) from error

    def _trained(self, part: Part, progress: Progress) -> TrainingState:
        torch.manual_seed(self.seed)
        if part == "decoder":
            autoencoder = self._autoencoder()
            images = self.pairs.images
            return train_decoder(
                autoencoder,
                self.code(),
                images,
                self.side,
                self.settings,
                self.seed,
                self.work,
                self._header("decoder"),
                progress,
            )
        parts, pairs = self.denoiser_parts(), self.training_pairs()
        return train_denoiser(parts, pairs, self.settings, self.seed, self.work, self._header("denoiser"), progress)

    def code(self) -> LinearCode:
        """The linear code, fitted once and kept."""
        path = self.work / "linear_code.npz"
        if path.exists():
            with np.load(path, allow_pickle=False) as found:
                return LinearCode(found["mean"], found["basis"])
        images = _at_side(self.pairs.images, self.side)
        code = fit_linear_code(images, self.settings.latent_channels)
        self.work.mkdir(parents=True, exist_ok=True)
        np.savez(path, mean=code.mean, basis=code.basis)
        return code

    def _autoencoder(self) -> Any:
        torch.manual_seed(self.seed)
        return autoencoder_with(self.code(), self.settings.autoencoder_widths, self.settings.autoencoder_layers)

    def denoiser_parts(self) -> DenoiserParts:
        """Denoiser, text encoder and tokenizer as training finds them."""
        if self.start is not None:
            assert self.start.codec is not None  # the flow refuses a base without mask channels
            start = self.start
            return DenoiserParts(
                start.unet(), start.text_encoder(), start.tokenizer(), start.scheduler(), self.start.codec
            )
        torch.manual_seed(self.seed)
        tokenizer = make_tokenizer(self.work / "tokenizer")
        text_encoder = make_text_encoder(tokenizer, self.settings.text_width)
        codec = distance_codec_from(self.settings.codec.model_dump())
        channels = self.settings.latent_channels + codec.channels
        unet = make_unet(channels, self.settings.unet_widths, self.settings.text_width, self.side // PATCH)
        return DenoiserParts(unet, text_encoder, tokenizer, make_scheduler(), codec)

    def training_pairs(self) -> TrainingPairs:
        """What the denoiser learns from: the training split and, if asked for, a phantom."""
        real = PromptedPairs(self._cache(self.pairs, self.data_digest))
        if not self.settings.drawn_pairs:
            return TrainingPairs(real)
        phantom = phantom_arrays(self.settings.drawn_pairs, self.seed, self.pairs.images.shape[1])
        digest = hashlib.sha256(phantom.images.tobytes() + phantom.masks.tobytes()).hexdigest()
        drawn = PromptedPairs(self._cache(phantom, digest), drawn_prompt_for)
        return TrainingPairs(real, drawn, self.settings.drawn_share)

    def _cache(self, pairs: PairArrays, digest: str) -> LatentCache:
        views = DIHEDRAL * self.settings.zooms
        if self.start is not None:
            assert self.start.codec is not None
            encode, codec = image_encoder(self.start.vae().to(training_device()), self.start), self.start.codec
            key = f"{self.start.digest} {digest}"
            return build_latent_cache(pairs, encode, codec, self.work, key, self.side, views)
        code = self.code()

        def encode_linearly(images: np.ndarray) -> torch.Tensor:
            return code.encode(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 127.5 - 1)

        codec = distance_codec_from(self.settings.codec.model_dump())
        key = f"{hashlib.sha256(code.basis.tobytes()).hexdigest()} {digest}"
        return build_latent_cache(pairs, encode_linearly, codec, self.work, key, self.side, views)

    def _header(self, part: Part) -> dict[str, str]:
        # How long, on how many at once and at which rate may change on resume; what is trained, and on what, may not.
        fixed = self.settings.model_dump(mode="json", include=_FIXED[part])
        start = [self.start.digest] if self.start else []
        text = json.dumps([part, fixed, self.seed, self.data_digest, *start], sort_keys=True)
        return {"key": hashlib.sha256(text.encode()).hexdigest()}

    def write_base(self, out: Path, card: Callable[[Path], str], snapshot: Path | None = None) -> BaseFolder:
        """Writes the averaged weights of both parts as a base folder, fp16; replaces `out` only when complete.

        card: given the folder with the weights in it, the text of its README.md; snapshot: a kept copy of the
        denoiser's averages to take instead of its checkpoint. Of several averages it is the one of `settings.average`.
        """
        unfinished = out.with_name(f".{out.name}.partial")
        shutil.rmtree(unfinished, ignore_errors=True)
        if self.start is None:
            autoencoder = self._autoencoder()
            decoder = {f"decoder.{name}": value for name, value in autoencoder.decoder.named_parameters()}
            self._load_average(decoder, "decoder")
        else:
            autoencoder = self.start.vae()
        parts = self.denoiser_parts()
        if snapshot is None:
            self._load_average(parts.named_parameters(), "denoiser", self.settings.averages)
        else:
            load_snapshot(parts.named_parameters(), snapshot, self.settings.average)
        parts.unet.half().save_pretrained(unfinished / "unet", safe_serialization=True)
        autoencoder.half().save_pretrained(unfinished / "vae", safe_serialization=True)
        parts.text_encoder.half().save_pretrained(unfinished / "text_encoder")
        parts.tokenizer.save_pretrained(unfinished / "tokenizer")
        parts.scheduler.save_pretrained(unfinished / "scheduler")
        for part in ("unet", "vae", "text_encoder"):
            _forget_where_it_lay(unfinished / part / "config.json")
        write_json(unfinished / CODEC_FILE, parts.codec.config(), sort_keys=True)
        write_json(unfinished / "model_index.json", model_index(), sort_keys=True)
        (unfinished / "README.md").write_text(card(unfinished))
        base = check_base(unfinished)
        shutil.rmtree(out, ignore_errors=True)
        unfinished.rename(out)
        return BaseFolder(out, *[getattr(base, name) for name in list(base.__dataclass_fields__)[1:]])

    def samples(self, snapshot: Path | None = None) -> int:
        """Pairs that the denoiser was shown until its checkpoint, or until `snapshot`."""
        with safe_open(snapshot or self.work / "denoiser.safetensors", "pt") as file:
            return int(file.metadata()["seen"])

    def _load_average(
        self, parameters: Mapping[str, torch.nn.Parameter], part: Part, lengths: tuple[float, ...] = ()
    ) -> None:
        state = TrainingState(dict(parameters), 0.0, 0.0, lengths=lengths)
        path = self.work / f"{part}.safetensors"
        if not state.load(path, self._header(part)):
            raise BadInput(f"{path}: no checkpoint of this data and these settings; train the {part} first")
        average = state.averages[lengths.index(self.settings.average) if lengths else 0]
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(average[name])


def _forget_where_it_lay(config: Path) -> None:
    """Takes the folder that a part was loaded from out of its config, where the libraries note it."""
    kept = {name: value for name, value in json.loads(config.read_text()).items() if name != "_name_or_path"}
    config.write_text(json.dumps(kept, indent=2, sort_keys=True) + "\n")


def model_index() -> dict[str, Any]:
    """The index that diffusers' StableDiffusionPipeline expects."""
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": "0.42.1",
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDPMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderDC"],
    }


def _at_side(images: np.ndarray, side: int) -> np.ndarray:
    import cv2

    if images.shape[1] == side:
        return np.asarray(images)
    return np.stack([cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images])
