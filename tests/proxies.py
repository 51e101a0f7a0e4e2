"""
Nginx and HAProxy in front of a port of this machine, from start to end, as their operators would run them.

Each is a process of its own on a loopback port that it alone has, with a configuration made for one test, and without rights. Whoever
makes one must close it; both may be used as context managers.
"""

import os
import shutil
import socket
import subprocess
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import pytest
from attrs import frozen

from .certificates import Issued
from .ports import HOST, Reserved

# Where Debian has them; an ordinary user's PATH lacks it.
_FOLDERS = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin"])
NGINX = shutil.which("nginx", path=_FOLDERS)
HAPROXY = shutil.which("haproxy", path=_FOLDERS)

needs_proxies = pytest.mark.skipif(
    NGINX is None or HAPROXY is None,
    reason="needs nginx and haproxy; on Debian: apt install nginx-light haproxy",
)


@frozen(kw_only=True)
class Passage:
    """What a proxy is to do."""

    upstream: int
    """The port that it leads to."""
    certificate: Issued | None = None
    """Where the proxy ends TLS: what it shows."""
    idle: float = 30.0
    """Seconds of silence after which it closes."""
    passes_upgrade: bool = True
    """False: nginx as it comes, which strips `Upgrade` and speaks HTTP/1.0 upstream."""
    upstream_tls: bool = False
    """Whether it speaks TLS to what is behind it."""
    is_blind: bool = False
    """HAProxy alone: it passes octets on without looking at them."""


class _Proxy:
    """A process that listens at `port` once this returns. It may be stopped and started again there."""

    name: ClassVar[str]

    def __init__(self, folder: Path, passage: Passage) -> None:
        self.folder = folder / self.name
        self.folder.mkdir(exist_ok=True)
        self.passage = passage
        if passage.certificate is not None:
            passage.certificate.write(self.folder / "proxy.pem")
        self._reserved = Reserved()
        self.port = self._reserved.number
        self._process: subprocess.Popen[bytes] | None = None
        try:
            self.start()
        except BaseException:
            self._reserved.release()
            raise

    def start(self) -> None:
        """Listen, until it is stopped."""
        self._process = self._start()

    def _start(self) -> "subprocess.Popen[bytes]":
        raise NotImplementedError

    @property
    def output(self) -> str:
        """What it said."""
        return (self.folder / "output").read_text(errors="replace")

    def stop(self) -> None:
        """End it at once; nobody listens any more."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            if process.stderr is not None:
                process.stderr.close()

    def close(self) -> None:
        """Stop it if it runs; it is not started again."""
        self.stop()
        self._reserved.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Haproxy(_Proxy):
    """HAProxy; it gets its listening socket from us, so connections wait from the first moment on."""

    name = "haproxy"

    def _start(self) -> "subprocess.Popen[bytes]":
        assert HAPROXY is not None
        with (
            socket.create_server((HOST, self.port)) as listening,
            (self.folder / "output").open("wb") as output,
        ):
            (self.folder / "conf").write_text(self._configuration(listening.fileno()))
            return subprocess.Popen(
                [HAPROXY, "-db", "-f", str(self.folder / "conf")],
                pass_fds=[listening.fileno()],
                stdout=output,
                stderr=output,
            )

    def _configuration(self, listening: int) -> str:
        passage = self.passage
        idle = f"{round(passage.idle * 1000)}ms"
        tls = f" ssl crt {self.folder / 'proxy.pem'} alpn h2,http/1.1" if passage.certificate else ""
        upstream_tls = " ssl verify none" if passage.upstream_tls else ""
        return f"""\
global
    maxconn 100
defaults
    mode {"tcp" if passage.is_blind else "http"}
    timeout connect 5s
    timeout client {idle}
    timeout server {idle}
    timeout tunnel {idle}
frontend door
    bind fd@{listening}{tls}
    default_backend fieldpost
backend fieldpost
    server one {HOST}:{passage.upstream}{upstream_tls}
"""


class Nginx(_Proxy):
    """Nginx."""

    name = "nginx"

    def _start(self) -> "subprocess.Popen[bytes]":
        (self.folder / "conf").write_text(self._configuration())
        assert NGINX is not None
        process = subprocess.Popen(
            [NGINX, "-e", "stderr", "-p", str(self.folder), "-c", str(self.folder / "conf")],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        self._wait(process)
        return process

    def _wait(self, process: "subprocess.Popen[bytes]") -> None:
        """Until it has said what it says behind opening its ports."""
        assert process.stderr is not None
        said = b""
        while b"event method" not in said:
            line = process.stderr.readline()
            said += line
            if not line:
                process.wait()
                process.stderr.close()
                raise AssertionError(f"nginx did not start: {said!r}")
        (self.folder / "output").write_bytes(said)

    def _configuration(self) -> str:
        passage = self.passage
        pem = self.folder / "proxy.pem"
        tls = f"ssl_certificate {pem}; ssl_certificate_key {pem};" if passage.certificate else ""
        upgrade = (
            "proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade;"
            " proxy_set_header Connection $connection_upgrade;"
        )
        temporary = "\n    ".join(
            f"{what}_temp_path {self.folder / what};"
            for what in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        return f"""\
daemon off;
master_process off;
pid {self.folder / "pid"};
error_log stderr notice;
events {{ worker_connections 100; }}
http {{
    access_log off;
    {temporary}
    map $http_upgrade $connection_upgrade {{ default upgrade; '' close; }}
    server {{
        listen {HOST}:{self.port}{" ssl http2" if passage.certificate else ""};
        {tls}
        location / {{
            proxy_pass {"https" if passage.upstream_tls else "http"}://{HOST}:{passage.upstream};
            proxy_read_timeout {round(passage.idle * 1000)}ms;
            proxy_send_timeout {round(passage.idle * 1000)}ms;
            {upgrade if passage.passes_upgrade else ""}
        }}
    }}
}}
"""
