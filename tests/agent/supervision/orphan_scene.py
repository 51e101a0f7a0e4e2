"""Run as a script: a supervisor with one child that starts a child of its own; both tell their process ids."""

import sys
from random import Random

from twisted.internet import reactor

from fieldpost.agent.supervision.child import RestartPolicy
from fieldpost.agent.supervision.processes import ProcessSpawner, Program
from fieldpost.agent.supervision.supervisor import Supervisor

CHILD = """
import os, subprocess, sys, time
inner = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("ids", os.getpid(), inner.pid, os.getpgid(0), flush=True)
{ending}
"""
ENDINGS = {
    "stay": "time.sleep(600)",
    "leave": "sys.exit(4)",
    "burst": "sys.stdout.write('x' * 20000); sys.exit(0)",
}


def tell(name: str, line: str) -> None:
    print(name, line, flush=True)  # noqa: T201 - the test reads it


if __name__ == "__main__":
    supervisor = Supervisor(
        programs=[
            Program(name="child", arguments=(sys.executable, "-c", CHILD.format(ending=ENDINGS[sys.argv[1]])))
        ],
        policy=RestartPolicy(base=60.0, cap=60.0),
        spawner=ProcessSpawner(reactor),
        clock=reactor,
        random=Random(),
        on_line=tell,
    )
    supervisor.startService()
    reactor.addSystemEventTrigger("before", "shutdown", supervisor.stopService)
    reactor.callLater(300, reactor.stop)
    reactor.run()
