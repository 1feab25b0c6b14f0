# websockets (Python)
# needs: pip websockets
# version: python3 -c 'import websockets; print(websockets.__version__)'
import os

from websockets.sync.client import connect

with connect(os.environ["URL"].replace("https", "wss") + "/socket") as socket:
    print(socket.recv())
    socket.send("hi")
    assert socket.recv() == "hi"
