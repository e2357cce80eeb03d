"""The vlm diagnoser: an image-text-to-text model of transformers, from a local folder or the hub."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from evaluate.diagnosis.interface import Diagnosis
from evaluate.diagnosis.parsing import Unreadable, parse_answer
from evaluate.diagnosis.prompting import SYSTEM, question
from evaluate.settings.explain import VlmSettings
from manifests.errors import BadInput, EvendermError, first_line

if TYPE_CHECKING:
    import numpy as np

NAME = "vlm"


class VlmDiagnoser:
    """Asks a model that runs here; nothing leaves this machine."""

    name = NAME

    def __init__(self, settings: VlmSettings, classes: Sequence[str]) -> None:
        """Loads the model. Raises BadInput where it is none that takes pictures, or has no safetensors weights."""
        import torch
        from transformers import AutoModelForImageTextToText, AutoProcessor

        if not settings.model:
            raise BadInput("explain.diagnoser=vlm needs explain.vlm.model, a local folder or a hub id")
        self.settings, self.classes = settings, tuple(classes)
        try:
            self.processor: Any = AutoProcessor.from_pretrained(settings.model, revision=settings.revision)
            self.model: Any = AutoModelForImageTextToText.from_pretrained(
                settings.model,
                revision=settings.revision,
                use_safetensors=True,
                dtype=getattr(torch, settings.dtype),
            ).eval()
        except (OSError, ValueError, KeyError, ImportError, AttributeError, RuntimeError) as error:
            raise BadInput(
                f"{settings.model}: no usable image-text-to-text model ({first_line(error)}); "
                "give a local folder or hub id"
            ) from error
        if torch.cuda.is_available():
            self.model = self.model.to("cuda")

    def diagnose(self, image: np.ndarray) -> Diagnosis:
        """See evaluate.diagnosis.diagnosis.Diagnoser; raises Unreadable where no attempt could be read."""
        failure: Unreadable | None = None
        for attempt in range(self.settings.attempts):
            try:
                return parse_answer(self.answer(image, attempt), self.classes, self.name)
            except Unreadable as error:
                failure = error
        assert failure is not None
        raise failure

    def answer(self, image: np.ndarray, attempt: int = 0) -> str:
        """What the model writes about a uint8 image (H, W, 3): greedy at first, then drawn with a seed."""
        import torch

        inputs = self._inputs(image).to(self.model.device)
        for name, value in inputs.items():
            if torch.is_tensor(value) and value.is_floating_point():
                inputs[name] = value.to(self.model.dtype)
        torch.manual_seed(attempt)
        sampling = {"do_sample": True, "temperature": 0.7} if attempt else {"do_sample": False}
        try:
            with torch.inference_mode():
                written = self.model.generate(**inputs, max_new_tokens=self.settings.max_new_tokens, **sampling)
        except (RuntimeError, ValueError, IndexError) as error:
            raise EvendermError(f"{self.settings.model} could not answer ({first_line(error)})") from error
        given = inputs["input_ids"].shape[1]
        return str(self.processor.batch_decode(written[:, given:], skip_special_tokens=True)[0])

    def _inputs(self, image: np.ndarray) -> Any:
        from PIL import Image

        picture = Image.fromarray(image)
        text = f"{SYSTEM}\n\n{question(self.classes)}"
        if getattr(self.processor, "chat_template", None):
            content = [{"type": "image", "image": picture}, {"type": "text", "text": text}]
            # One message: several families know no system role beside a picture.
            return self.processor.apply_chat_template(
                [{"role": "user", "content": content}],
                add_generation_prompt=True,
                tokenize=True,
                return_dict=True,
                return_tensors="pt",
            )
        mark = getattr(self.processor, "image_token", "<image>")
        return self.processor(images=picture, text=f"{mark}\n{text}", return_tensors="pt")
