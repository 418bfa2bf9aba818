#!/usr/bin/env python3
"""A client and a server of gRPC as others write them: grpcio, of the gRPC project itself.

    grpc_peer.py serve [--cert PEM --key PEM] [--port N]
        prints its port, serves until its standard input ends
    grpc_peer.py health-serve STATE ...   the same, with the health service in this state
    grpc_peer.py call ADDRESS CASE [--ca PEM --name NAME]
        makes the calls of a case and prints what came of them, one fact a line

Messages are plain bytes: what a proxy does to them does not depend on what they mean.
"""

import argparse
import sys
import threading
from concurrent import futures

import grpc

SERVICE = "test.v1.Echo"

# Whatever bytes: it takes google.rpc.Status for what it is.
DETAILS = bytes(range(256))

# The largest message that grpcio takes by itself.
LARGEST = 4 * 1024 * 1024


def same(message):
    return message


# The server.


def unary(request, context):
    metadata = dict(context.invocation_metadata())
    context.send_initial_metadata((("x-initial", "one"), ("x-binary-bin", b"\x00\xff")))
    context.set_trailing_metadata((("x-trailing", "two"),))
    if request == b"metadata":
        return metadata.get("x-sent", "").encode()
    if request == b"deadline":
        return str(round(context.time_remaining())).encode()
    if request == b"binary":
        context.set_trailing_metadata((("x-back-bin", metadata["x-sent-bin"]),))
        return metadata["x-sent-bin"]
    if request == b"details":
        context.set_trailing_metadata((("grpc-status-details-bin", DETAILS),))
        context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "see the details")
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not 100 % ready: é")
    if request == b"hang":
        ended = threading.Event()
        context.add_callback(ended.set)
        print("cancelled" if ended.wait(30) else "forgotten", flush=True)
    return request


def server_streaming(request, context):
    for number in range(int(request)):
        yield b"%d" % number
    context.set_trailing_metadata((("x-trailing", "two"),))


def client_streaming(requests, context):
    return b"+".join(requests)


def both_streaming(requests, context):
    for request in requests:
        yield request


def silent(request, context):
    """Not even a head."""
    ended = threading.Event()
    context.add_callback(ended.set)
    print("cancelled" if ended.wait(30) else "forgotten", flush=True)
    return request


def compressed(request, context):
    context.set_compression(grpc.Compression.Gzip)
    return request


PIECE = bytes(64 * 1024)
written = 0


def flood(request, context):
    """So many pieces, as fast as they are taken."""
    global written
    for _ in range(int(request)):
        yield PIECE
        written += 1


def progress(request, context):
    return b"%d" % written


def slow_streaming(request, context):
    ended = threading.Event()

    def end():
        # Told here: where the end comes soon, nobody asks this generator to go on.
        if not ended.is_set():
            print("cancelled", flush=True)
        ended.set()

    context.add_callback(end)
    yield b"first"
    if not ended.wait(30):
        print("forgotten", flush=True)
        ended.set()


def start(arguments, state):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, same, same),
        "Server": grpc.unary_stream_rpc_method_handler(server_streaming, same, same),
        "Client": grpc.stream_unary_rpc_method_handler(client_streaming, same, same),
        "Both": grpc.stream_stream_rpc_method_handler(both_streaming, same, same),
        "Slow": grpc.unary_stream_rpc_method_handler(slow_streaming, same, same),
        "Silent": grpc.unary_unary_rpc_method_handler(silent, same, same),
        "Compressed": grpc.unary_unary_rpc_method_handler(compressed, same, same),
        "Flood": grpc.unary_stream_rpc_method_handler(flood, same, same),
        "Progress": grpc.unary_unary_rpc_method_handler(progress, same, same),
    }
    handler = grpc.method_handlers_generic_handler(SERVICE, handlers)
    server.add_generic_rpc_handlers((handler,))
    if state:
        from grpc_health.v1 import health, health_pb2, health_pb2_grpc

        servicer = health.HealthServicer()
        servicer.set(SERVICE, health_pb2.HealthCheckResponse.ServingStatus.Value(state))
        health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    address = f"127.0.0.1:{arguments.port}"
    if arguments.cert:
        with open(arguments.key, "rb") as key, open(arguments.cert, "rb") as cert:
            credentials = grpc.ssl_server_credentials([(key.read(), cert.read())])
        port = server.add_secure_port(address, credentials)
    else:
        port = server.add_insecure_port(address)
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(0)


# The client.


class Calls:
    """The methods of the server, through whatever is at an address."""

    def __init__(self, arguments):
        options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
        if arguments.ca:
            with open(arguments.ca, "rb") as ca:
                credentials = grpc.ssl_channel_credentials(ca.read())
            options.append(("grpc.ssl_target_name_override", arguments.name))
            self.channel = grpc.secure_channel(arguments.address, credentials, options)
        else:
            self.channel = grpc.insecure_channel(arguments.address, options)
        base = f"/{SERVICE}/"
        self.unary = self.channel.unary_unary(base + "Unary", same, same)
        self.server = self.channel.unary_stream(base + "Server", same, same)
        self.client = self.channel.stream_unary(base + "Client", same, same)
        self.both = self.channel.stream_stream(base + "Both", same, same)
        self.slow = self.channel.unary_stream(base + "Slow", same, same)
        self.silent = self.channel.unary_unary(base + "Silent", same, same)
        self.compressed = self.channel.unary_unary(base + "Compressed", same, same)
        self.flood = self.channel.unary_stream(base + "Flood", same, same)
        self.progress = self.channel.unary_unary(base + "Progress", same, same)
        self.missing = self.channel.unary_unary("/nobody.Here/Call", same, same)


def failed(call):
    """How a call fails, in one line."""
    try:
        call()
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    return "it did not fail"


def of_all_kinds(calls):
    print("unary", calls.unary(b"hello", timeout=10).decode())
    print("server", b",".join(calls.server(b"5", timeout=10)).decode())
    print("client", calls.client(iter([b"a", b"b", b"c"]), timeout=10).decode())
    # Each message is sent only when the answer to the one before has come.
    turns = threading.Semaphore(1)

    def ping_pong():
        for number in range(4):
            turns.acquire(timeout=10)
            yield b"%d" % number

    got = []
    for answer in calls.both(ping_pong(), timeout=10):
        got.append(answer.decode())
        turns.release()
    print("both", ",".join(got))
    large = b"x" * 3_000_000
    print("large", calls.unary(large, timeout=20) == large)


def metadata(calls):
    response, call = calls.unary.with_call(
        b"metadata", timeout=10, metadata=(("x-sent", "value"),)
    )
    print("sent", response.decode())
    initial = dict(call.initial_metadata())
    print("initial", initial["x-initial"], initial["x-binary-bin"])
    print("trailing", dict(call.trailing_metadata())["x-trailing"])
    print("failed", failed(lambda: calls.unary(b"fail", timeout=10)))
    print("remaining", calls.unary(b"deadline", timeout=100).decode())


def deadline(calls):
    print("failed", failed(lambda: calls.unary(b"hang", timeout=0.5)))


def cancel(calls):
    stream = calls.slow(b"", timeout=20)
    print("got", next(stream).decode())
    stream.cancel()
    print("failed", failed(lambda: list(stream)))


def fail(calls):
    print("unary", failed(lambda: calls.unary(b"hello", timeout=10)))
    print("missing", failed(lambda: calls.missing(b"hello", timeout=10)))


def hang(calls):
    """Without a deadline of the client's own."""
    print("failed", failed(lambda: calls.unary(b"hang")))


def hold(calls):
    """A stream that stays open until standard input says to end it."""
    lines = threading.Semaphore(0)

    def requests():
        yield b"first"
        lines.acquire()
        yield b"last"

    answers = calls.both(requests(), timeout=60)
    print("got", next(answers).decode(), flush=True)
    sys.stdin.readline()
    lines.release()
    print("got", ",".join(answer.decode() for answer in answers))


def binary(calls):
    sent = bytes(range(256))
    response, call = calls.unary.with_call(
        b"binary", timeout=10, metadata=(("x-sent-bin", sent),)
    )
    print("there", response == sent)
    print("and back", dict(call.trailing_metadata())["x-back-bin"] == sent)


def details(calls):
    try:
        calls.unary(b"details", timeout=10)
    except grpc.RpcError as error:
        print("failed", error.code().name, error.details())
        print("details", dict(error.trailing_metadata())["grpc-status-details-bin"] == DETAILS)


def largest(calls):
    message = bytes(range(256)) * (LARGEST // 256)
    print("unary", calls.unary(message, timeout=20) == message)
    got = list(calls.both(iter([message] * 3), timeout=20))
    print("both", got == [message] * 3)


def compressed_both_ways(calls):
    message = bytes(LARGEST)
    got = calls.compressed(message, timeout=20, compression=grpc.Compression.Gzip)
    print("compressed", got == message)


def many(calls):
    """Nobody waits for the other, and messages are of all sizes, also of none."""
    messages = [b"%d" % number * (number % 97) for number in range(1000)]
    print("many", list(calls.both(iter(messages), timeout=60)) == messages)


def silence(calls):
    print("failed", failed(lambda: calls.silent(b"", timeout=0.5)))


def slow_reader(calls):
    """Takes one piece, and the rest when standard input says so."""
    pieces = calls.flood(sys.stdin.readline().strip().encode(), timeout=60)
    print("got", len(next(pieces)), flush=True)
    sys.stdin.readline()
    rest = list(pieces)
    print("got", len(rest), sum(map(len, rest)))


def written_so_far(calls):
    print(calls.progress(b"", timeout=10).decode())


def lost(calls):
    """A stream whose server goes away."""
    stream = calls.slow(b"", timeout=60)
    print("got", next(stream).decode(), flush=True)
    print("failed", failed(lambda: list(stream)))


CASES = {
    "binary": binary,
    "details": details,
    "largest": largest,
    "compressed": compressed_both_ways,
    "many": many,
    "silence": silence,
    "slow-reader": slow_reader,
    "progress": written_so_far,
    "lost": lost,
    "kinds": of_all_kinds,
    "metadata": metadata,
    "deadline": deadline,
    "cancel": cancel,
    "fail": fail,
    "hang": hang,
    "hold": hold,
}


def main():
    parser = argparse.ArgumentParser()
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serve", "health-serve"):
        serve = commands.add_parser(name)
        if name == "health-serve":
            serve.add_argument("state")
        serve.add_argument("--cert")
        serve.add_argument("--key")
        serve.add_argument("--port", type=int, default=0)
    call = commands.add_parser("call")
    call.add_argument("address")
    call.add_argument("case", choices=sorted(CASES))
    call.add_argument("--ca")
    call.add_argument("--name", default="")
    arguments = parser.parse_args()
    if arguments.command == "call":
        CASES[arguments.case](Calls(arguments))
    else:
        start(arguments, getattr(arguments, "state", None))


if __name__ == "__main__":
    main()
