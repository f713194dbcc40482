"""The functions of `octensor.ops.quantized`, by subject."""
