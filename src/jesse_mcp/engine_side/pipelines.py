"""Jesse's candle pipelines, seeded."""

from typing import Any

import numpy as np
from jesse.candle_pipelines import (
    GaussianNoiseCandlesPipeline,
    GaussianResamplerCandlesPipeline,
    MovingBlockBootstrapCandlesPipeline,
)

_CLASSES: dict[str, Any] = {
    "moving_block_bootstrap": MovingBlockBootstrapCandlesPipeline,
    "gaussian_noise": GaussianNoiseCandlesPipeline,
    "gaussian_resampler": GaussianResamplerCandlesPipeline,
}


def pipeline(wanted: dict[str, Any] | None) -> dict[str, Any]:
    """Arguments of ``research.backtest`` that alter the candles as ``wanted``; none when it is ``None``.

    Jesse makes one pipeline for each symbol. The bootstrap takes its seed and draws the same blocks for all
    symbols; the Gaussian ones draw from NumPy's global state, which is seeded here.
    """
    if wanted is None:
        return {}
    arguments = {"batch_size": wanted["batch_size"], **wanted["parameters"]}
    if wanted["name"] == "moving_block_bootstrap":
        arguments["seed"] = wanted["seed"]
    else:
        np.random.seed(wanted["seed"])
    return {"candles_pipeline_class": _CLASSES[wanted["name"]], "candles_pipeline_kwargs": arguments}
