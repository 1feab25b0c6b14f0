"""An SSH server for each way that lets everybody in and serves a repository: `ssh_git.py REPOSITORY WAY…`. Prints a JSON object of
ports, then `WAY yes` for each connection. Ends with its standard input.
"""

import asyncio
import json
import sys

import asyncssh

repository, *ways = sys.argv[1:]


async def process(asked):
    if not asked.command.startswith("git-upload-pack "):
        return asked.exit(1)
    child = await asyncio.create_subprocess_exec(
        "git", "upload-pack", repository, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    await asked.redirect(stdin=child.stdin, stdout=child.stdout)
    asked.exit(await child.wait())


def server(way):
    class Server(asyncssh.SSHServer):
        def connection_made(self, _):
            print(way, "yes", flush=True)

        def begin_auth(self, _):
            return False

    return Server


async def main():
    key, ports = asyncssh.generate_private_key("ssh-ed25519"), {}
    for way in ways:
        listener = await asyncssh.listen(
            "127.0.0.1", 0, server_factory=server(way), server_host_keys=[key], process_factory=process, encoding=None
        )
        ports[way] = listener.get_port()
    print(json.dumps(ports), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
