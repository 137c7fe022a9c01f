"""Synthetic urban sound sources: a simple physical model for each coarse category of SONYC-UST.

Each source is a function of a generator, a number of samples and a rate in Hz, and returns float32 `[n]` of unit
peak. They are caricatures that vary as natural sounds do: distinct enough to be classified, with a little overlap.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, rfftfreq
from scipy.signal import butter, lfilter, sosfilt

Source = Callable[[np.random.Generator, int, int], NDArray[np.float32]]


def colored_noise(
    rng: np.random.Generator, n: int, rate: int, slope: float, low: float = 20.0, high: float | None = None
) -> NDArray[np.float32]:
    """Gaussian noise whose power falls by `slope` powers of frequency between `low` and `high` Hz."""
    frequency = rfftfreq(n, 1 / rate)
    amplitude = np.maximum(frequency, low) ** (-slope / 2)
    amplitude[(frequency < low) | (frequency > (high or rate / 2))] = 0
    phases = rng.normal(size=(2, len(frequency)))
    return _peak(irfft(amplitude * (phases[0] + 1j * phases[1]), n))


def engine(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """A drone of many harmonics of a wandering firing rate, with rumble."""
    firing = rng.uniform(25, 90) * (1 + 0.03 * _wander(rng, n, rate, 0.7))
    tone = _harmonics(firing, rate, (1 / np.arange(1, 25)) * rng.uniform(0.4, 1, 24))
    rumble = colored_noise(rng, n, rate, 2.0, low=30, high=400)
    return _peak(tone + 0.6 * rumble)


def machinery_impact(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """A jackhammer or rock drill: ten to thirty strikes per second on something that rings."""
    interval = rate / rng.uniform(9, 28)
    places = np.arange(0, n, interval)
    places = np.clip(places + rng.normal(0, 0.03 * interval, len(places)), 0, n - 1).astype(int)
    pulses = np.zeros(n)
    pulses[places] = rng.uniform(0.7, 1, len(places))
    strikes = lfilter([1.0], [1.0, -np.exp(-1 / (0.008 * rate))], pulses)
    noise = _ring(strikes * rng.normal(size=n), rate, rng.uniform(900, 2500), 0.012)
    return _peak(noise + 0.5 * _ring(strikes, rate, rng.uniform(120, 300), 0.02))


def non_machinery_impact(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """A few separate thuds and clanks, irregular, with modes that ring on."""
    strikes = np.zeros(n)
    strikes[rng.integers(0, n, max(1, round(rng.uniform(0.5, 1.6) * n / rate)))] = rng.uniform(0.4, 1)
    modes = rng.uniform(250, 3300, 4)
    return _peak(np.sum([_ring(strikes, rate, mode, rng.uniform(0.05, 0.25)) for mode in modes], axis=0))


def powered_saw(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """A whine of high harmonics that bogs down under load, and a hiss."""
    load = _wander(rng, n, rate, 1.5)
    whine = _harmonics(rng.uniform(350, 700) * (1 - 0.12 * np.abs(load)), rate, rng.uniform(0.3, 1, 8))
    hiss = colored_noise(rng, n, rate, -0.3, low=1500)
    return _peak(whine + 0.7 * hiss * (1 + 0.5 * load))


def alert_signal(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """A siren, a horn, or a reverse beeper."""
    time = np.arange(n) / rate
    kind = rng.integers(3)
    if kind == 0:
        sweep = 0.5 - 0.5 * np.cos(2 * np.pi * rng.uniform(0.25, 3.5) * time + rng.uniform(0, 6))
        return _peak(_harmonics(600 + 800 * sweep, rate, np.array([1, 0.4, 0.25])))
    if kind == 1:
        pitch = rng.uniform(330, 480)
        chord = sum(_harmonics(np.full(n, each), rate, 0.8 ** np.arange(7)) for each in (pitch, 1.26 * pitch))
        return _peak(chord * _gate(time, rng.uniform(0.4, 0.9), rng.uniform(0.5, 0.9)))
    return _peak(np.sin(2 * np.pi * rng.uniform(1000, 1500) * time) * _gate(time, rng.uniform(0.8, 1.2), 0.5))


def music(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """Plucked chords of a scale over a bass, on a beat."""
    beat = round(rate * 60 / rng.uniform(80, 150))
    scale = 220 * 2 ** (np.array([0, 2, 4, 5, 7, 9, 11, 12]) / 12 + rng.integers(-5, 6) / 12)
    out = np.zeros(n)
    for start in range(0, n, beat):
        length = min(2 * beat, n - start)
        envelope = np.exp(-np.arange(length) / (0.35 * rate))
        root = rng.integers(0, 4)
        for step, gain in ((0, 1.0), (2, 0.8), (4, 0.7)):
            note = _harmonics(np.full(length, scale[(root + step) % 8]), rate, 0.6 ** np.arange(6))
            out[start : start + length] += gain * envelope * note
        out[start : start + length] += 1.2 * envelope * np.sin(np.pi * scale[root] * np.arange(length) / rate)
    return _peak(out)


def human_voice(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """A glottal pulse train through formants that change from syllable to syllable."""
    pitch = rng.uniform(95, 240) * (1 + 0.15 * _wander(rng, n, rate, 2.0))
    glottis = _harmonics(pitch, rate, 1 / np.arange(1, 31)) + 0.05 * rng.normal(size=n)
    syllable = round(rate / rng.uniform(3.5, 6))
    vowels = np.array([(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)])
    out = np.zeros(n)
    for start in range(0, n, syllable):
        part = glottis[start : start + syllable] * np.hanning(min(syllable, n - start) + 2)[1:-1]
        if rng.random() < 0.85:
            out[start : start + syllable] = sum(_resonate(part, rate, f, 90) for f in rng.choice(vowels))
    return _peak(out)


def dog(rng: np.random.Generator, n: int, rate: int) -> NDArray[np.float32]:
    """Barks: short, harsh, falling in pitch, in irregular bouts."""
    out = np.zeros(n)
    length = round(rate * rng.uniform(0.12, 0.25))
    base = rng.uniform(350, 800)
    position = rng.integers(0, max(1, n // 4))
    while position + length < n:
        time = np.arange(length) / length
        bark = _harmonics(base * (1.25 - 0.5 * time), rate, 0.75 ** np.arange(8)) + 0.6 * rng.normal(size=length)
        out[position : position + length] = bark * np.sin(np.pi * time) ** 0.5 * rng.uniform(0.6, 1)
        position += round(rate * rng.uniform(0.3, 1.1))
    return _peak(_resonate(out, rate, 1100, 900) + 0.3 * out)


SOURCES: dict[str, Source] = {
    "engine": engine,
    "machinery-impact": machinery_impact,
    "non-machinery-impact": non_machinery_impact,
    "powered-saw": powered_saw,
    "alert-signal": alert_signal,
    "music": music,
    "human-voice": human_voice,
    "dog": dog,
}
"""Coarse category of SONYC-UST to its source."""


def _peak(sound: NDArray[Any]) -> NDArray[np.float32]:
    return (sound / max(np.abs(sound).max(), 1e-9)).astype(np.float32)


def _wander(rng: np.random.Generator, n: int, rate: int, speed: float) -> NDArray[np.float64]:
    """A smooth random curve in about [-1, 1] with `speed` knots per second."""
    knots = rng.uniform(-1, 1, max(2, round(speed * n / rate) + 2))
    return np.interp(np.linspace(0, len(knots) - 1, n), np.arange(len(knots)), knots)


def _harmonics(frequency: NDArray[Any], rate: int, gains: NDArray[Any]) -> NDArray[np.float64]:
    """Sum of sines at multiples of a varying frequency, without those above the Nyquist rate."""
    fundamental = np.exp(2j * np.pi * np.cumsum(frequency) / rate)
    audible = gains[: int(rate / 2 / np.max(frequency))]
    # Horner's scheme: the k-th harmonic is the k-th power of the first.
    total = np.zeros_like(fundamental)
    for gain in audible[::-1]:
        total += gain
        total *= fundamental
    return total.imag


def _ring(strikes: NDArray[Any], rate: int, frequency: float, decay: float) -> NDArray[np.float64]:
    """A damped mode of `frequency` Hz that dies away in `decay` seconds."""
    radius = np.exp(-1 / (decay * rate))
    return lfilter([1 - radius], [1, -2 * radius * np.cos(2 * np.pi * frequency / rate), radius**2], strikes)


def _resonate(sound: NDArray[Any], rate: int, frequency: float, width: float) -> NDArray[np.float64]:
    low, high = max(frequency - width, 30), min(frequency + width, 0.49 * rate)
    return sosfilt(butter(1, (low, high), "bandpass", fs=rate, output="sos"), sound)


def _gate(time: NDArray[Any], period: float, duty: float) -> NDArray[np.float64]:
    return (time % period < duty * period).astype(float)
