"""Steps/s, pairs/s and peak memory of the Stable Diffusion 2 preset, on random weights of the full architecture.

    python tests/benchmarks/stable_diffusion_speed.py --out FOLDER [--brief | --narrow]

It builds the base (865 M parameters in the denoiser), draws a phantom, then runs prepare, adapt and synthesise as the
`sd2` preset has them, with few steps and pairs, kills adapt and synthesise once each on the way, and prints a table
from the run's own log. For a GPU; --brief does the same with two steps each, which proves the path at full size where
there is none (16 GB of memory, an hour on one thread); --narrow takes a narrow base at 64 px.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from manifests.markdown import markdown_table
from tests.augment.base.tiny_bases import scaled_to_one, write_narrow_base

GIB = 2**30
# stabilityai/stable-diffusion-2-base, as its config files have it.
UNET = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "attention_head_dim": (5, 10, 20, 20),
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
TEXT = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16}
QUICK = (
    "adapt.steps=40",
    "adapt.domain_steps=40",
    "adapt.checkpoint_every=10",
    "synthesis.balance=16",
    "synthesis.gates=false",
)
BRIEF = (
    "engine.threads=1",
    "adapt.steps=2",
    "adapt.domain_steps=2",
    "adapt.warmup=1",
    "adapt.checkpoint_every=1",
    "adapt.min_pairs=4",
    "sampling.steps=3",
    "sampling.batch=2",
    "synthesis.balance=10",
    "synthesis.shard_size=2",
)
NARROW = ("base.resolution=64", "prepare.size=64", "synthesis.shard_size=8", "sampling.steps=4", "adapt.steps=8")


def write_full_base(out: Path) -> None:
    """Stable Diffusion 2's parts at full size, untrained, as a base folder of fp32 safetensors."""
    import torch
    from diffusers import AutoencoderKL, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel

    from augment.base.text_encoder import make_tokenizer

    torch.manual_seed(0)
    tokenizer = make_tokenizer(out / "tokenizer")
    UNet2DConditionModel(**UNET).save_pretrained(out / "unet")
    scaled_to_one(AutoencoderKL(**VAE)).save_pretrained(out / "vae")
    ends = {name: getattr(tokenizer, name) for name in ("bos_token_id", "eos_token_id", "pad_token_id")}
    CLIPTextModel(CLIPTextConfig(**TEXT, vocab_size=len(tokenizer), **ends)).save_pretrained(out / "text_encoder")
    DDPMScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, clip_sample=False
    ).save_pretrained(out / "scheduler")
    (out / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusionPipeline"}))


def command(step: str, run: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "flows.command_line", step, "--out", str(run), *more]


def killed_and_repeated(step: str, run: Path, sign: str) -> None:
    """Runs a step that is killed as soon as a file like `sign` lies in the run folder, and then to its end."""
    with subprocess.Popen(command(step, run)) as process:
        while process.poll() is None and not list(run.glob(sign)):
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    subprocess.run(command(step, run), check=True)


def table(run: Path) -> str:
    """Rate and peak memory of each task that the log of the run has to its end."""
    rows = []
    for text in (run / "log.jsonl").read_text(encoding="utf-8").splitlines():
        event = json.loads(text)
        if event["event"] != "finished" or not str(event["task"]).startswith(("adapt", "synthesise")):
            continue
        rate = event["units"] / event["seconds"] if event["seconds"] else 0.0
        gpu = f"{event['gpu_memory'] / GIB:.2f} GiB" if "gpu_memory" in event else "none"
        memory = f"{event['memory'] / GIB:.2f} GiB"
        rows.append((event["task"], str(event["units"]), f"{rate:.3g}/s", memory, gpu))
    return markdown_table(("task", "units", "rate", "host memory", "GPU memory"), rows, numeric=range(1, 5)) + "\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Builds, runs and prints; the table is kept as speed.md in the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--brief", action="store_true", help="the full base, two steps and a few pairs")
    size.add_argument("--narrow", action="store_true", help="a narrow base at 64 px")
    chosen = parser.parse_args(arguments)
    out: Path = chosen.out.resolve()
    base, data, run = out / "base", out / "phantom", out / "run"
    if not (base / "model_index.json").exists():
        write_narrow_base(base) if chosen.narrow else write_full_base(base)
    if not data.exists():
        words = ["phantom", "--out", str(data), "--pairs", "30" if chosen.brief else "60", "--seed", "0"]
        subprocess.run([sys.executable, "-m", "flows.command_line", *words], check=True)
    overrides = [f"base.path={base}", "engine.name=plain", *QUICK]
    overrides += NARROW if chosen.narrow else BRIEF if chosen.brief else ()
    settings = [word for override in overrides for word in ("--set", override)]
    subprocess.run(command("prepare", run, "--data", str(data), "--preset", "sd2", *settings), check=True)
    killed_and_repeated("adapt", run, "work/adapt/domain/*.checkpoint.safetensors")
    killed_and_repeated("synthesise", run, "work/candidates/*/*")
    (out / "speed.md").write_text(table(run), encoding="utf-8")
    print(table(run), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
