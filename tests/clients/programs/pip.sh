# pip
# needs: pip pip
# credential: basic
# version: python3 -m pip --version
python3 -m pip install --disable-pip-version-check --retries 0 --index-url "$URL/simple/" --target things tiny-thing &&
    PYTHONPATH=things python3 -m tiny_thing
