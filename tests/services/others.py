"""Another user of the machine, who may run programs and has none of the project's secrets."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence

NOBODY = 65534
BECOME = f"""
import os, socket, ssl, sys, urllib.request
"".encode("idna")  # all of it now: the interpreter may lie where the other user cannot look
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid({NOBODY})
    os.setuid({NOBODY})
"""
KNOCK = """
def say(port, content, tls):
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as plain:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            with context.wrap_socket(plain) if tls else plain as speaking:
                speaking.settimeout(5)
                speaking.sendall(content)
                return speaking.recv(100)
    except OSError as error:
        return type(error).__name__.encode()
FRAME = b"\\0\\0\\0\\4\\0\\0\\0\\0\\0"  # SETTINGS of HTTP/2: whoever speaks gRPC to everybody answers with its own
ASKS = {
    "GET": b"GET /dir/assign HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n",
    "PUT": b"PUT /a/b HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: 1\\r\\nConnection: close\\r\\n\\r\\nx",
    "DELETE": b"DELETE /?recursive=true HTTP/1.1\\r\\nHost: x\\r\\nConnection: close\\r\\n\\r\\n",
    "gRPC": b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + FRAME,
}
for port in map(int, sys.argv[1:]):
    for name, content in ASKS.items():
        for tls in (False, True):
            print(port, name, "TLS" if tls else "plain", say(port, content, tls))
"""
"""What each port answers to requests without a key or a certificate."""
OPEN = """
for path in sys.argv[1:]:
    for mode in ("rb", "r+b"):
        try:
            open(path, mode).close()
            print(path, mode)
        except OSError:
            pass
"""
"""Which of the files can be opened, and how."""


def another_user(program: str, arguments: Sequence[str]) -> list[str]:
    """Run a program of the standard library as another user; the lines that it prints.

    Where this process may not become another one, it runs as this user, who then has no secret in its environment.
    """
    command = [sys.executable, "-I", "-S", "-c", BECOME + program, *arguments]
    done = subprocess.run(command, cwd="/", env={}, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def is_another() -> bool:
    """Whether ``another_user`` really is one."""
    return os.geteuid() == 0
