"""A small web server: POST /jobs with a number asks for its factors, GET /jobs shows what became of it."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from store import connect

PORT = 8000


class Handler(BaseHTTPRequestHandler):
    """Answers one request with a connection of its own."""

    def do_GET(self) -> None:
        """Show all jobs."""
        if self.path != "/jobs":
            self.answer(404, {"error": "there is /jobs"})
            return
        connection = connect()
        rows = connection.run("SELECT id, number, result FROM jobs ORDER BY id")
        connection.close()
        self.answer(200, [{"id": row[0], "number": row[1], "result": row[2]} for row in rows])

    def do_POST(self) -> None:
        """Add a job."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            number = int(body)
        except ValueError:
            self.answer(400, {"error": "send a number"})
            return
        connection = connect()
        rows = connection.run("INSERT INTO jobs (number) VALUES (:number) RETURNING id", number=number)
        connection.close()
        self.answer(202, {"id": rows[0][0]})

    def answer(self, status: int, value: object) -> None:
        """Send JSON."""
        data = json.dumps(value).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


if __name__ == "__main__":
    print(f"listening on port {PORT}", flush=True)
    ThreadingHTTPServer(("", PORT), Handler).serve_forever()
