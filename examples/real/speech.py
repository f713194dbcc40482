"""Synthetic speech whose labels are known by construction: espeak-ng's sentences in noise, with pauses between.

A frame of 512 samples is speech if the clean signal in it is at most 40 dB below its sentence's loudest frame.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import wave

import numpy as np

RATE, FRAME = 16000, 512
VOICES = ("en-us", "en-gb", "de", "fr", "es", "it")
SENTENCES = (
    "The birch canoe slid on the smooth planks.",
    "Glue the sheet to the dark blue background.",
    "It is easy to tell the depth of a well.",
    "These days a chicken leg is a rare dish.",
    "Rice is often served in round bowls.",
    "The juice of lemons makes fine punch.",
    "The box was thrown beside the parked truck.",
    "The hogs were fed chopped corn and garbage.",
    "Four hours of steady work faced us.",
    "A large size in stockings is hard to sell.",
    "The boy was there when the sun rose.",
    "A rod is used to catch pink salmon.",
)


def speak(text: str, voice: str, speed: int, pitch: int) -> np.ndarray:
    """Return a spoken sentence at 16 kHz."""
    program = shutil.which("espeak-ng")
    if program is None:
        raise SystemExit("espeak-ng is missing: install the package espeak-ng of the system")
    command = [program, "--stdout", "-v", voice, "-s", str(speed), "-p", str(pitch), text]
    sound = subprocess.run(command, check=True, capture_output=True).stdout
    with wave.open(io.BytesIO(sound)) as file:
        rate = file.getframerate()
        samples = np.frombuffer(sound[44:], np.int16).astype(np.float32) / 32768
    time = np.arange(int(len(samples) * RATE / rate)) * rate / RATE
    return np.interp(time, np.arange(len(samples)), samples).astype(np.float32)


def noise(rng: np.random.Generator, count: int, slope: float) -> np.ndarray:
    """Return noise of unit power whose amplitude falls with frequency to the power of `slope`."""
    spectrum = np.fft.rfft(rng.standard_normal(count)) / np.maximum(np.arange(count // 2 + 1), 20) ** slope
    sound = np.fft.irfft(spectrum, count)
    return np.float32(sound / np.sqrt(np.mean(sound**2)))


def recording(seed: int, sentences: int) -> tuple[np.ndarray, np.ndarray]:
    """Return frames [T, 512] and, for each, whether it is speech."""
    rng = np.random.default_rng(seed)
    sounds, labels = [], []
    for number in range(sentences):
        voice, text = VOICES[number % len(VOICES)], SENTENCES[int(rng.integers(len(SENTENCES)))]
        clean = speak(text, voice, int(rng.integers(120, 200)), int(rng.integers(20, 80)))
        before, after = (FRAME * int(n) for n in rng.integers(10, 60, 2))
        after += -len(clean) % FRAME
        clean = np.concatenate([np.zeros(before, np.float32), clean, np.zeros(after, np.float32)])
        power = np.mean(clean.reshape(-1, FRAME) ** 2, 1)
        labels.append(power > 1e-4 * power.max())
        level = np.sqrt(power[labels[-1]].mean()) * 10 ** (-rng.uniform(0, 20) / 20)
        loudness = 10 ** rng.uniform(-1, 0)
        sounds.append(np.float32(loudness * (clean + level * noise(rng, len(clean), rng.choice([0, 0.5, 1])))))
    return np.concatenate(sounds).reshape(-1, FRAME), np.concatenate(labels)
