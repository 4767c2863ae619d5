"""A ticketing backend in sixty lines: takes drafts, keeps the newest of each call, tells the gateway its ticket's number.

    pip install grpcio grpcio-tools grpcio-reflection
    python server.py --listen 127.0.0.1:50060 --proto ../../../proto

It keeps everything in memory. A real one keeps each draft on disk before it answers.
"""

import argparse
import sys
import tempfile
import threading
from concurrent import futures
from pathlib import Path

import grpc
from grpc_reflection.v1alpha import reflection
from grpc_tools import protoc

arguments = argparse.ArgumentParser()
arguments.add_argument("--listen", default="127.0.0.1:50060")
arguments.add_argument("--proto", default=str(Path(__file__).resolve().parents[3] / "proto"))
arguments = arguments.parse_args()

# Usually done once, when the backend is built.
generated = tempfile.mkdtemp()
FILE = "xinqiao/ticket/v1/ticket.proto"
if protoc.main(["", f"-I{arguments.proto}", f"--python_out={generated}", f"--grpc_python_out={generated}", FILE]):
    sys.exit("the protocol file cannot be compiled; name its folder with --proto")
sys.path.insert(0, generated)
from xinqiao.ticket.v1 import ticket_pb2, ticket_pb2_grpc  # noqa: E402


class Intake(ticket_pb2_grpc.TicketIntakeServicer):
    """Both requests are idempotent by their key: the gateway repeats what it got no answer to."""

    def __init__(self):
        self.lock = threading.Lock()
        self.held = {}

    def take(self, request, context, close):
        key = request.key
        if not key.call_id or key.revision == 0:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "the request has no key")
        with self.lock:
            held = self.held.setdefault(
                key.call_id, {"ticket": f"P{len(self.held) + 1:06}", "revision": 0, "closed": False, "draft": None}
            )
            stale = key.revision < held["revision"] or (held["closed"] and key.revision > held["revision"])
            if not stale and not held["closed"]:
                held.update(revision=key.revision, draft=request.draft, closed=close)
            elif close and not held["closed"]:
                held["closed"] = True
        print(key.call_id, key.revision, "closed" if close else "open", "stale" if stale else "taken", flush=True)
        outcome = ticket_pb2.OUTCOME_STALE if stale else ticket_pb2.OUTCOME_ACCEPTED
        return {"outcome": outcome, "ticket_id": held["ticket"]}

    def UpsertDraft(self, request, context):
        return ticket_pb2.UpsertDraftResponse(**self.take(request, context, False))

    def CloseDraft(self, request, context):
        return ticket_pb2.CloseDraftResponse(**self.take(request, context, True))


server = grpc.server(futures.ThreadPoolExecutor(8))
ticket_pb2_grpc.add_TicketIntakeServicer_to_server(Intake(), server)
service = ticket_pb2.DESCRIPTOR.services_by_name["TicketIntake"].full_name
reflection.enable_server_reflection((service, reflection.SERVICE_NAME), server)
port = server.add_insecure_port(arguments.listen)
server.start()
print(f"taking drafts at {arguments.listen.rsplit(':', 1)[0]}:{port}", flush=True)
server.wait_for_termination()
