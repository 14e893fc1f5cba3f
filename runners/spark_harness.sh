#!/bin/sh
# What a Spark executor starts for each stage of DoFns, with --id= and --provision_endpoint=. -S: site packages are the
# server's business, and finding them takes longer than all the rest of a client.
exec "${BEAM_GRID_PYTHON:-python3}" -S "$(dirname "$0")/spark_harness.py" "$@"
