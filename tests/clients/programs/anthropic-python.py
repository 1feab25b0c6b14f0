# Anthropic's SDK (Python)
# needs: pip anthropic
# credential: header
# keys: ANTHROPIC_API_KEY sk-ant-api03- 80
# note: with the credential, the key in its environment is a dummy
# version: python3 -c 'import anthropic; print(anthropic.__version__)'
import os

import anthropic

ask = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
client = anthropic.Anthropic(base_url=os.environ["URL"], max_retries=0)
print(client.messages.create(**ask).content[0].text)
with client.messages.stream(**ask) as stream:
    print("".join(stream.text_stream))
