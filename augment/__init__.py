"""The generator: joint denoiser, mask codec, adapters, sampling and synthesis."""
