#!/usr/bin/env python3
"""Draws each score of patches/ as it sounds: waveform above, spectrogram below.

docs/pictures/draw.py [NAME...]     needs numpy, matplotlib, pillow and target/release/understudy
"""
import io
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TAIL = 2.0  # seconds after the last event


def seconds(score):
    """How long a score plays."""
    times = [float(line.split()[0]) for line in score.read_text().splitlines() if line.strip() and line[0] != "#"]
    return max(times) + TAIL


def samples(wav):
    """Frames by channels of a WAV file of 32-bit floats."""
    data = wav.read_bytes()
    at, channels = 12, 1
    while at < len(data):
        name, size = struct.unpack("<4sI", data[at : at + 8])
        if name == b"fmt ":
            channels = struct.unpack("<H", data[at + 10 : at + 12])[0]
        if name == b"data":
            return np.frombuffer(data[at + 8 : at + 8 + size], "<f4").reshape(-1, channels)
        at += 8 + size + size % 2
    raise SystemExit(f"{wav} has no data")


def draw(score):
    own = score.with_suffix(".json")
    patch = own if own.exists() else ROOT / "patches/stage.json"
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "out.wav"
        command = [ROOT / "target/release/understudy", "render", patch, "--score", score]
        subprocess.run([*command, "--seconds", str(seconds(score)), "-o", wav], check=True, stdout=subprocess.DEVNULL)
        sound = samples(wav)
    mono = sound.mean(axis=1)
    time = np.arange(len(mono)) / 48_000
    figure, (wave, spectrum) = plt.subplots(2, 1, sharex=True, figsize=(7, 3.2), height_ratios=[1, 2])
    wave.fill_between(*envelope(time, sound), color="#2b6777", linewidth=0)
    wave.set_ylim(-1, 1)
    wave.set_yticks([-1, 0, 1])
    wave.set_title(score.stem, loc="left", fontsize=9)
    spectrum.specgram(mono + 1e-9 * np.random.default_rng(1).standard_normal(len(mono)), NFFT=2048, Fs=48_000, noverlap=1024, vmin=-140, vmax=-40, cmap="magma")
    spectrum.set_yscale("symlog", linthresh=200)
    spectrum.set_ylim(30, 20_000)
    spectrum.set_yticks([50, 100, 200, 1_000, 5_000, 20_000], ["50", "100", "200", "1k", "5k", "20k Hz"])
    spectrum.set_xlabel("s", fontsize=8)
    for axes in (wave, spectrum):
        axes.tick_params(labelsize=7)
        axes.set_xlim(0, time[-1])
    figure.tight_layout(pad=0.4)
    with io.BytesIO() as drawn:
        figure.savefig(drawn, dpi=80)
        Image.open(drawn).convert("RGB").quantize(48).save(ROOT / "docs/pictures" / f"{score.stem}.png", optimize=True)
    plt.close(figure)
    print(f"{score.stem}: {time[-1]:.1f} s, peak {abs(sound).max():.2f}, level {20 * np.log10(sound.std() + 1e-9):.1f} dB")


def envelope(time, sound, columns=700):
    """The lowest and the highest sample of each column."""
    each = max(1, len(time) // columns)
    whole = len(time) // each * each
    blocks = sound[:whole].reshape(-1, each * sound.shape[1])
    return time[:whole:each], blocks.min(axis=1), blocks.max(axis=1)


if __name__ == "__main__":
    named = [ROOT / "patches" / f"{name}.score" for name in sys.argv[1:]]
    for score in named or sorted((ROOT / "patches").glob("*.score")):
        draw(score)
