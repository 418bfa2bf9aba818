"""An application beside a proxy: what it is asked for it answers with the help of others, whom it
calls through the proxy, and tells of once it has answered. On SIGTERM it goes on for a moment, since
not everybody knows yet, finishes what it has, and says how many of its calls have failed.

    sidecar_app.py PORT OUTBOUND_PORT
"""

import http.client
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT, OUTBOUND = int(sys.argv[1]), int(sys.argv[2])
CALLS = {"/": 3, "/long": 25}
STEP = 0.1
LAME = 1.5

failed = []


def call(path):
    connection = http.client.HTTPConnection("127.0.0.1", OUTBOUND, timeout=10)
    try:
        connection.request("GET", path)
        status = connection.getresponse().status
    except OSError as error:
        status = error
    finally:
        connection.close()
    if status != 200:
        failed.append(f"{path}: {status}")
    return status == 200


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        good = True
        for _ in range(CALLS.get(self.path, 0)):
            time.sleep(STEP)
            good = call("/help") and good
        self.send_response(200 if good else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()
        self.close_connection = True
        if self.path in CALLS:
            self.wfile.flush()
            self.connection.shutdown(1)
            time.sleep(STEP)
            call("/afterwards")

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = False
    request_queue_size = 128


def end(*_):
    def later():
        time.sleep(LAME)
        server.shutdown()

    threading.Thread(target=later).start()


server = Server(("127.0.0.1", PORT), Handler)
signal.signal(signal.SIGTERM, end)
server.serve_forever()
server.server_close()  # waits for what runs
print(f"{len(failed)} calls failed {failed[:3]}", flush=True)
sys.exit(1 if failed else 0)
