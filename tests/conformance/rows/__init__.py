"""The rows: what the dialect promises, each checked in the same words against either target. A row raises `Differs` with what it
saw. Names beginning with C are compatibility, where the peer is right as well; D is where it is not; S is how code is found and
called; N is other kinds of agents; F is frameworks.
"""

import dataclasses
import importlib

from targets import Setting

ROWS = {}


@dataclasses.dataclass(frozen=True)
class Row:
    name: str
    what: str
    setting: Setting
    check: object
    awaited: str = ""  # why Postern does not claim it yet
    needs: str = ""  # what must be there besides, by its name among the fakes; the peer is not asked then

    @property
    def peer_passes(self):
        return self.name[0] in "CS"


def row(name, what, setting=Setting(), **named):
    def register(check):
        ROWS[name] = Row(name, what, setting, check, **named)
        return check

    return register


for module in ("probes", "loop", "handlers", "pauses", "better", "frameworks"):
    importlib.import_module(f"rows.{module}")
