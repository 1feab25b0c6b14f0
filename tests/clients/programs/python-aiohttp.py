# aiohttp (Python)
# needs: pip aiohttp
# version: python3 -c 'import aiohttp; print(aiohttp.__version__)'
import asyncio
import os

import aiohttp


async def main():
    for reads_variables in (False, True):
        async with aiohttp.ClientSession(trust_env=reads_variables) as session:
            async with session.get(os.environ["URL"] + "/json") as answer:
                answer.raise_for_status()
                print((await answer.json())["says"])


asyncio.run(main())
