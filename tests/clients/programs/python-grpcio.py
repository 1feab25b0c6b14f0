# grpcio (Python)
# needs: pip grpcio
# at: grpc
# version: python3 -c 'import grpc; print(grpc.__version__)'
import os

import grpc

with grpc.secure_channel(f"{os.environ['HOST']}:{os.environ['PORT']}", grpc.ssl_channel_credentials()) as channel:
    print(channel.unary_unary("/clients.Words/Say")(b"hi", timeout=20).decode())
    print(b" ".join(channel.unary_stream("/clients.Words/Spell")(b"hi", timeout=20)).decode())
