"""A reply of the faked model in the form of OpenAI's Responses API, whole and streamed. Never decides what is replied."""

import json

USAGE = {
    "input_tokens": 3, "input_tokens_details": {"cached_tokens": 0},
    "output_tokens": 5, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 8,
}


def whole(question, reply, status="completed"):
    finished = status == "completed"
    return {
        "id": "resp_fake", "object": "response", "created_at": 1, "status": status, "model": question["model"],
        "output": items(reply) if finished else [], "parallel_tool_calls": True, "tool_choice": "auto", "tools": [],
        "usage": USAGE if finished else None,
    }


def items(reply):
    calls = [
        {"id": "fc_" + call["id"], "type": "function_call", "call_id": call["id"], "status": "completed", **call["function"]}
        for call in reply.get("tool_calls") or []
    ]
    return calls or [{
        "id": "msg_fake", "type": "message", "role": "assistant", "status": "completed",
        "content": [{"type": "output_text", "text": reply["content"], "annotations": []}],
    }]


def streamed(question, reply):
    events = [("response.created", {"response": whole(question, reply, "in_progress")})]
    for index, item in enumerate(items(reply)):
        place = {"output_index": index, "item_id": item["id"]}
        is_call = item["type"] == "function_call"
        begun = {**item, "status": "in_progress", **({"arguments": ""} if is_call else {"content": []})}
        events.append(("response.output_item.added", {"output_index": index, "item": begun}))
        events += of_call(place, item["arguments"]) if is_call else of_text({**place, "content_index": 0}, reply["content"])
        events.append(("response.output_item.done", {"output_index": index, "item": item}))
    events.append(("response.completed", {"response": whole(question, reply)}))
    lines = [
        f"event: {kind}\ndata: {json.dumps({'type': kind, 'sequence_number': number, **data})}\n\n"
        for number, (kind, data) in enumerate(events)
    ]
    return "".join(lines).encode()


def of_call(place, arguments):
    return [
        ("response.function_call_arguments.delta", {**place, "delta": arguments}),
        ("response.function_call_arguments.done", {**place, "arguments": arguments}),
    ]


def of_text(place, text):
    part = {"type": "output_text", "text": "", "annotations": []}
    return [
        ("response.content_part.added", {**place, "part": part}),
        ("response.output_text.delta", {**place, "delta": text[:2], "logprobs": []}),
        ("response.output_text.delta", {**place, "delta": text[2:], "logprobs": []}),
        ("response.output_text.done", {**place, "text": text, "logprobs": []}),
        ("response.content_part.done", {**place, "part": {**part, "text": text}}),
    ]
