"""A gRPC server for each way: `grpc_words.py FOLDER KEY WAY…`. Prints a JSON object of ports, then `WAY yes` or `WAY no` for each call:
whether it has the credential. Ends with its standard input.
"""

import json
import sys
from concurrent import futures

import grpc

folder, key, word, *ways = sys.argv[1:]
files = [open(f"{folder}/{name}", "rb").read() for name in ("server.key", "server.crt")]


def serving(way):
    def let_in(context):
        told = dict(context.invocation_metadata())
        has = way != "bearer" or told.get("authorization") == f"Bearer {key}"
        print(way, "yes" if has else "no", flush=True)
        if not has:
            context.abort(grpc.StatusCode.UNAUTHENTICATED, "this asks for its credential")

    def say(_, context):
        let_in(context)
        return word.encode()

    def spell(_, context):
        let_in(context)
        yield from word.encode().split()

    methods = {"Say": grpc.unary_unary_rpc_method_handler(say), "Spell": grpc.unary_stream_rpc_method_handler(spell)}
    server = grpc.server(futures.ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("clients.Words", methods)])
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([files]))
    server.start()
    return server, port


servers = {way: serving(way) for way in ways}
print(json.dumps({way: port for way, (_, port) in servers.items()}), flush=True)
sys.stdin.read()
