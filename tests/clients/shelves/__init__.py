"""What the upstream has: a module a kind of client, each with `takes(request)` and `answer(request, handler)`."""
