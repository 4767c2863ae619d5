"""Another implementation of gRPC asks the reference backend, with nothing but what reflection tells it."""

import sys

import grpc
from google.protobuf import json_format, message_factory
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

channel = grpc.insecure_channel(sys.argv[1])
database = ProtoReflectionDescriptorDatabase(channel)
assert "xinqiao.ticket.v1.TicketIntake" in database.get_services(), database.get_services()
pool = DescriptorPool(database)


def ask(service, method, request):
    described = pool.FindServiceByName(f"xinqiao.ticket.v1.{service}").FindMethodByName(method)
    sent, got = (message_factory.GetMessageClass(kind) for kind in (described.input_type, described.output_type))
    call = channel.unary_unary(
        f"/xinqiao.ticket.v1.{service}/{method}", sent.SerializeToString, got.FromString
    )
    answer = call(json_format.ParseDict(request, sent()), timeout=10)
    return json_format.MessageToDict(answer)


health = health_pb2_grpc.HealthStub(channel)
status = health.Check(health_pb2.HealthCheckRequest(service="xinqiao.ticket.v1.TicketIntake"), timeout=10).status
assert status == health_pb2.HealthCheckResponse.SERVING, status

draft = {"fields": [{"name": "FIELD_NAME_CONTACT_PHONE", "text": "13800000001", "confidence": 0.5}]}
first = ask("TicketIntake", "UpsertDraft", {"key": {"callId": "python", "revision": 2}, "draft": draft})
assert first["outcome"] == "OUTCOME_ACCEPTED", first
older = ask("TicketIntake", "UpsertDraft", {"key": {"callId": "python", "revision": 1}, "draft": draft})
assert older == {"outcome": "OUTCOME_STALE", "ticketId": first["ticketId"]}, older
closed = ask("TicketIntake", "CloseDraft", {"key": {"callId": "python", "revision": 3}, "draft": draft})
assert closed == first, closed
record = ask("TicketBook", "GetDraft", {"callId": "python"})["record"]
assert record["closed"] and record["key"]["revision"] == "3", record
try:
    ask("TicketIntake", "UpsertDraft", {"draft": draft})
    raise SystemExit("a request without a key was taken")
except grpc.RpcError as error:
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT, error
print("as documented")
