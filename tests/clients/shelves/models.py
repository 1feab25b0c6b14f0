"""What providers of models answer, in the two formats that SDKs speak."""

import json

from upstream import WORD


def takes(request):
    return request.path in ("/v1/chat/completions", "/v1/responses", "/v1/messages")


def answer(request, _):
    asked = json.loads(request.body)
    usage = {"input_tokens": 3, "output_tokens": 5}
    said = {"id": "one", "model": asked["model"], "role": "assistant"}
    if request.path == "/v1/messages":
        said.update(type="message", content=[{"type": "text", "text": WORD}], stop_reason="end_turn", stop_sequence=None, usage=usage)
        return events(anthropic_events(said)) if asked.get("stream") else page(said)
    if request.path == "/v1/responses":
        content = [{"type": "output_text", "text": WORD, "annotations": []}]
        message = {"id": "msg", "type": "message", "status": "completed", "role": "assistant", "content": content}
        return page({"id": "one", "object": "response", "created_at": 1, "status": "completed", "model": asked["model"], "output": [message],
                     "tools": [], "tool_choice": "auto", "parallel_tool_calls": True, "usage": {**usage, "total_tokens": 8}})
    if asked.get("stream"):
        chunk = {"id": "one", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
        pieces = [{"index": 0, "delta": {"role": "assistant", "content": word}, "finish_reason": None} for word in WORD.partition(" ")]
        return events([*({**chunk, "choices": [piece]} for piece in pieces), "[DONE]"])
    choice = {"index": 0, "message": {"role": "assistant", "content": WORD}, "finish_reason": "stop"}
    counted = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
    return page({"id": "one", "object": "chat.completion", "created": 1, "model": asked["model"], "choices": [choice], "usage": counted})


def anthropic_events(said):
    yield {"type": "message_start", "message": {**said, "content": [], "stop_reason": None}}
    yield {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for piece in WORD.partition(" "):
        yield {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": piece}}
    yield {"type": "content_block_stop", "index": 0}
    yield {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 5}}
    yield {"type": "message_stop"}


def page(told):
    return 200, {"content-type": "application/json"}, json.dumps(told).encode()


def events(told):
    lines = []
    for one in told:
        name = f"event: {one['type']}\n" if isinstance(one, dict) and "type" in one else ""
        lines.append(f"{name}data: {one if isinstance(one, str) else json.dumps(one)}\n\n")
    return 200, {"content-type": "text/event-stream"}, "".join(lines).encode()
