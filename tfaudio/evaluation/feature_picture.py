"""Features drawn over time, a panel each."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt

from tfaudio.config import FrontEndConfig

_UNITS = {
    "spectral_contrast": "dB",
    "spectral_centroid": "Hz",
    "spectral_bandwidth": "Hz",
    "spectral_rolloff": "Hz",
}


def feature_picture(features: npt.NDArray[np.float32], config: FrontEndConfig, *, title: str = "") -> bytes:
    """Draws bins as colours, single values as lines, and slopes and curvatures below what they belong to.

    Args:
      features: [frames, config.num_bins], as `compute_features` gives them.
      config: what they are.
      title: above all.

    Returns:
      The content of a PNG file.
    """
    from matplotlib.figure import Figure

    panels = _panels(config)
    figure = Figure(figsize=(9, 0.6 + 1.9 * len(panels)), dpi=110, layout="constrained")
    all_axes = figure.subplots(len(panels), 1, sharex=True, squeeze=False)[:, 0]
    step = config.frame_step / config.sample_rate
    times = np.arange(len(features)) * step
    for (name, first, count), axes in zip(panels, all_axes, strict=True):
        values = features[:, first : first + count]
        axes.set_title(name.replace("_", " "), fontsize=9, loc="left")
        if count == 1:
            axes.plot(times, values[:, 0], marker="." if len(times) == 1 else "")
            axes.set_ylabel(_UNITS.get(name, ""))
        else:
            # A frame is drawn around its instant.
            extent = (-step / 2, times[-1] + step / 2, -0.5, count - 0.5)
            image = axes.imshow(
                values.T, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest"
            )
            figure.colorbar(image, ax=axes, pad=0.01)
            axes.yaxis.get_major_locator().set_params(integer=True)
            axes.set_ylabel("bin")
    all_axes[-1].set_xlabel("seconds")
    if title:
        figure.suptitle(title, fontsize=10, parse_math=False)
    content = io.BytesIO()
    figure.savefig(content, format="png")
    return content.getvalue()


def _panels(config: FrontEndConfig) -> list[tuple[str, int, int]]:
    """Name, first bin and number of bins of each feature and of its deltas."""
    panels, first = [], 0
    for prefix in ("", "slope of ", "curvature of ")[: 1 + config.deltas]:
        for name in config.features:
            panels.append((prefix + name, first, config.bins_of(name)))
            first += config.bins_of(name)
    return panels
