# uv
# needs: pip uv
# credential: basic
# version: $PYTHONPATH/bin/uv --version
export UV_HTTP_RETRIES=0
"$CLIENTS/python/bin/uv" pip install --python python3 --index-url "$URL/simple/" --target things tiny-thing &&
    PYTHONPATH=things python3 -m tiny_thing
