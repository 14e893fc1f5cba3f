"""A Python worker of Beam's on a node of a Spark cluster; each executor starts one by itself, by spark_harness.sh.

    executor (JVM) ── starts ──► spark_harness.sh ──► this: runs DoFns until the executor's stream ends

Beam's own containers start theirs with a program that fetches what was staged. Nothing is staged here: nodes have this
product installed. It ends with its executor, killed or not.
"""

from __future__ import annotations

import argparse
import os
import sys


def main(arguments: list[str]) -> None:
    """Serve one executor; returns when it has gone. Raises grpc.RpcError where it does not answer."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--id", required=True)
    parser.add_argument("--provision_endpoint", required=True)
    given, _ = parser.parse_known_args(arguments)
    os.environ["WORKER_ID"] = given.id  # read when Beam is loaded
    import grpc
    from apache_beam.portability.api import beam_provision_api_pb2, beam_provision_api_pb2_grpc
    from apache_beam.runners.worker import sdk_worker_main
    from apache_beam.runners.worker.worker_id_interceptor import WorkerIdInterceptor

    with grpc.insecure_channel(given.provision_endpoint) as channel:
        named = grpc.intercept_channel(channel, WorkerIdInterceptor(given.id))
        asked = beam_provision_api_pb2_grpc.ProvisionServiceStub(named)
        told = asked.GetProvisionInfo(beam_provision_api_pb2.GetProvisionInfoRequest(), timeout=60).info
    os.environ["CONTROL_API_SERVICE_DESCRIPTOR"] = f'url: "{told.control_endpoint.url}"'
    os.environ["LOGGING_API_SERVICE_DESCRIPTOR"] = f'url: "{told.logging_endpoint.url}"'
    os.environ["PIPELINE_OPTIONS"] = '{"default_sdk_harness_log_level": "ERROR"}'
    sdk_worker_main.main([])


if __name__ == "__main__":
    main(sys.argv[1:])
