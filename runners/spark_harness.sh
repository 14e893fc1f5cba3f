#!/bin/sh
# What a Spark executor starts to run DoFns; Beam calls it with --id= and --provision_endpoint=.
exec "${BEAM_GRID_PYTHON:-python3}" -m runners.spark_harness "$@"
