"""A small hub of our own: what the Hub answers about one repository."""

import json
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

COMMITS = {"main": "a" * 40, "old": "b" * 40}
NAME = "vit_mini_patch4_28"
PAGE = b"---\nlicense: cc-by-nc-4.0\n---\n# Tiny\n"


class Handler(BaseHTTPRequestHandler):
    """What the Hub answers about one repository: its commits, its files, their bytes."""

    files: ClassVar[dict[str, dict[str, bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def log_message(self, *given):
        pass

    def answer(self, code, body, **headers):
        self.send_response(code)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def do_GET(self):
        path = self.path.partition("?")[0]
        self.asked.append(path)
        root, _, rest = path.removeprefix("/api/models").partition("/org/tiny/")
        kind, _, rest = rest.partition("/")
        revision, _, file = rest.partition("/")
        commit = COMMITS.get(revision, revision)
        held = self.files.get(commit)
        if root or held is None:
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        if kind == "revision":
            about = {"id": "org/tiny", "sha": commit, "siblings": [{"rfilename": f} for f in held]}
            return self.answer(200, json.dumps(about).encode(), Content_Type="application/json")
        if kind == "tree":
            rows = [
                {"type": "file", "path": f, "size": len(b), "oid": sha256(b).hexdigest()[:40]}
                for f, b in held.items()
            ]
            return self.answer(200, json.dumps(rows).encode(), Content_Type="application/json")
        body = held[file]
        tag = f'"{sha256(body).hexdigest()[:40]}"'
        return self.answer(200, body, ETag=tag, X_Repo_Commit=commit)

    do_HEAD = do_GET
