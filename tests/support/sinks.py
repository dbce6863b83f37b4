"""Receivers of alerts on loopback: a webhook and a mail server that keep what they get, fail, or stay silent."""

import contextlib
import json
import socketserver
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


class Webhook(BaseHTTPRequestHandler):
    """Keeps JSON bodies; answers with the server's status, or not until it ends where ``silent`` is set."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(self.path)
        if self.server.silent:
            self.server.over.wait(60)
            return
        if self.server.status < 300:
            self.server.got.append(body)
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        """Say nothing."""


class Mail(socketserver.StreamRequestHandler):
    """Speaks enough SMTP to take a letter."""

    def handle(self):
        self.say("220 sink")
        while line := self.rfile.readline().decode().strip():
            verb = line.split(" ")[0].split(":")[0].upper()
            if verb == "DATA":
                self.say("354 go on")
                letter = b"".join(iter(self.rfile.readline, b".\r\n"))
                self.server.got.append(letter.decode())
            refused = verb == "RCPT" and self.server.refuses
            self.say("550 no such box" if refused else {"QUIT": "221 bye"}.get(verb, "250 fine"))
            if verb == "QUIT":
                return

    def say(self, line):
        self.wfile.write(f"{line}\r\n".encode())


@contextlib.contextmanager
def serving(server):
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.over.set()
        server.shutdown()
        server.server_close()
        thread.join(10)


@pytest.fixture
def webhook():
    """A webhook on loopback: ``got``, ``asked``, ``status``, ``silent``, ``port``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    server.got, server.asked, server.status, server.silent = [], [], 200, False
    server.over, server.port = threading.Event(), server.server_address[1]
    with serving(server):
        yield server


@pytest.fixture
def mailbox():
    """A mail server on loopback: ``got``, ``refuses``, ``port``."""
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Mail)
    server.got, server.refuses = [], False
    server.over, server.port = threading.Event(), server.server_address[1]
    with serving(server):
        yield server
