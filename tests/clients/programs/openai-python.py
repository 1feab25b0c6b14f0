# OpenAI's SDK (Python)
# needs: pip openai
# keys: OPENAI_API_KEY sk-proj- 60
# note: with the credential, the key in its environment is a dummy
# version: python3 -c 'import openai; print(openai.__version__)'
import os

import openai

HI = [{"role": "user", "content": "hi"}]
client = openai.OpenAI(base_url=os.environ["URL"] + "/v1", max_retries=0)
print(client.chat.completions.create(model="m", messages=HI).choices[0].message.content)
print("".join(chunk.choices[0].delta.content for chunk in client.chat.completions.create(model="m", messages=HI, stream=True)))
print(client.responses.create(model="m", input="hi").output_text)
