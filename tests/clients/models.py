"""Asks models through a gate with the SDKs that people use, as they come from the registry: `models.py http://HOST:PORT`.

The upstream behind the gate repeats what it was asked. Anything but that, in any form that an SDK has, ends this with a
traceback. Prints one line a client.
"""

import sys

import anthropic
import openai

GATE = sys.argv[1]
HI = [{"role": "user", "content": "hi"}]
SAID = "You said: hi"
KEY = "platform-managed"


def raises(kind, words, call):
    try:
        call()
    except kind as error:
        assert words in str(error), error
        return error
    raise AssertionError(f"nothing was raised, {kind} was expected")


def openai_sdk(base):
    client = openai.OpenAI(base_url=base, api_key=KEY, max_retries=0)

    whole = client.chat.completions.create(model="gpt", messages=HI)
    assert whole.choices[0].message.content == SAID, whole
    assert whole.usage.total_tokens == 8, whole

    options = {"include_usage": True}
    chunks = list(client.chat.completions.create(model="gpt", messages=HI, stream=True, stream_options=options))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == SAID, chunks
    assert chunks[-1].usage.completion_tokens == 5, chunks

    response = client.responses.create(model="gpt", input="hi")
    assert response.output_text == SAID, response
    with client.responses.stream(model="gpt", input=HI) as stream:
        kinds = [event.type for event in stream]
        assert kinds[-1] == "response.completed", kinds
        assert stream.get_final_response().output_text == SAID

    vectors = client.embeddings.create(model="gpt", input=["hi"], encoding_format="float")
    assert vectors.data[0].embedding == [0.5, -0.25], vectors

    assert [model.id for model in client.models.list()] == ["gpt", "claude"]
    assert client.models.retrieve("claude").owned_by == "anthropic"

    error = raises(openai.NotFoundError, "gpt, claude", lambda: client.chat.completions.create(model="x", messages=HI))
    assert error.code == "MODEL_NOT_FOUND", error.code
    search = [{"type": "web_search"}]
    error = raises(
        openai.PermissionDeniedError, "web_search", lambda: client.responses.create(model="gpt", input="hi", tools=search)
    )
    assert error.code == "CAPABILITY_DENIED", error.code
    raises(openai.BadRequestError, "is for: gpt", lambda: client.chat.completions.create(model="claude", messages=HI))


def anthropic_sdk(base):
    client = anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0)
    ask = {"model": "claude", "max_tokens": 64, "messages": HI}

    whole = client.messages.create(**ask)
    assert whole.content[0].text == SAID, whole
    assert whole.usage.output_tokens == 5, whole
    assert client.beta.messages.create(**ask, betas=["context-1m-2025-08-07"]).content[0].text == SAID

    with client.messages.stream(**ask) as stream:
        assert "".join(stream.text_stream) == SAID
        assert stream.get_final_message().usage.output_tokens == 5

    assert client.messages.count_tokens(model="claude", messages=HI).input_tokens == 3
    assert "claude" in [model.id for model in client.models.list()]
    assert client.models.retrieve("claude").type == "model"

    error = raises(anthropic.NotFoundError, "gpt, claude", lambda: client.messages.create(**{**ask, "model": "x"}))
    assert error.body["error"]["type"] == "not_found_error", error.body
    fetch = [{"type": "web_fetch_20250910", "name": "web_fetch"}]
    raises(anthropic.PermissionDeniedError, "web_fetch", lambda: client.messages.create(**ask, tools=fetch))


# The addresses that an agent finds in its environment, and those with a provider in them.
openai_sdk(f"{GATE}/v1")
one = openai.OpenAI(base_url=f"{GATE}/v1/p/openai", api_key=KEY, max_retries=0)
assert one.chat.completions.create(model="gpt", messages=HI).choices[0].message.content == SAID
print(f"openai {openai.__version__}")
anthropic_sdk(GATE)
for base in [f"{GATE}/v1", f"{GATE}/v1/p/anthropic"]:
    one = anthropic.Anthropic(base_url=base, api_key=KEY, max_retries=0)
    assert one.messages.create(model="claude", max_tokens=9, messages=HI).content[0].text == SAID
print(f"anthropic {anthropic.__version__}")
