"""The checks for anybody's code: a plain PyTorch model, a loader and a loss, without a config."""
