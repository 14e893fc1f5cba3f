"""How good the detectors are: on the generators' labels, and on the Numenta Anomaly Benchmark."""
