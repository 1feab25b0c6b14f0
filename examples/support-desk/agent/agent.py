"""A support desk in one file: it greets, looks orders up, and asks the model.

Nothing here knows a key. The order service and the model are plain URLs from the environment; the gate behind them
checks the policy and adds what is needed. `probe.py` plays the curious agent for the tour.
"""

import json
import os
import re
import urllib.error
import urllib.request

import probe

TIMEOUT_SECONDS = 30


def handler(request, ctx):
    message = request["message"].strip()
    first, _, rest = message.partition(" ")
    run = {"X-Run-ID": request["run_id"]} if request.get("run_id") else {}
    if first.lower() == "probe":
        return probe.run(rest, run)
    if first.lower() == "ask":
        return ask(rest, run)
    if number := re.search(r"\border\s+#?(\d+)", message, re.IGNORECASE):
        return order(number[1], run)
    return {"response": "Hello, this is the support desk. Give me an order number, or ask me something."}


def order(number, run):
    url = f"{os.environ['TOOL_URL_ORDERS']}/orders/{number}"
    sent = {"method": "GET", "url": url, "headers": dict(run)}
    status, body = fetch(urllib.request.Request(url, headers=run))
    if status != 200:
        return {"response": f"I could not look up order {number}.", "sent": sent, "status": status, "answer": body}
    return {"response": f"Order {number}: {body['item']}, {body['status']}.", "sent": sent}


def ask(question, run):
    payload = {"model": os.environ["LLM_MODEL"], "messages": [{"role": "user", "content": question}]}
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    headers = {"Content-Type": "application/json", **run}
    status, body = fetch(urllib.request.Request(url, json.dumps(payload).encode(), headers))
    if status != 200:
        return {"response": "The model did not answer.", "status": status, "answer": body}
    return {"response": body["choices"][0]["message"]["content"], "model": body["model"], "usage": body["usage"]}


def fetch(request):
    """The status and the JSON body of an answer, whether it is a yes or a no."""
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as refusal:
        return refusal.code, json.load(refusal)
