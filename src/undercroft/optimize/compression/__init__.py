"""Published models with fewer bits a weight, as vLLM reads them: schemes, sizes, calibration, comparison."""
