"""What `upstream.py` saw, what it says it used, and what its stateful endpoints remember."""

import base64
import collections
import json
import threading
import time

# Enough for one test's look back; a load test must not keep every body.
REQUESTS_KEPT_MAX = 512


class Account:
    """What this provider saw and what it says it used; one line per request in the file when the request ends."""

    def __init__(self, path):
        self.lock = threading.Lock()
        self.records = []
        self.requests = collections.OrderedDict()
        self.failures = collections.Counter()
        # Keys beside the usual one, each with how it is judged.
        self.keys = {}
        self.sequence = 0
        # What the stateful endpoints remember: responses by id, files as their object and bytes, batches.
        self.responses = {}
        self.files = {}
        self.batches = {}
        self.file = open(path, "a", encoding="utf-8") if path else None

    def open(self, record, headers, body):
        with self.lock:
            self.sequence += 1
            record["sequence"] = self.sequence
            self.records.append(record)
            self.requests[self.sequence] = (headers, body)
            if len(self.requests) > REQUESTS_KEPT_MAX:
                self.requests.popitem(last=False)

    def close(self, record):
        record["ended"] = time.time()
        with self.lock:
            if self.file:
                self.file.write(json.dumps(record, ensure_ascii=False) + "\n")
                self.file.flush()

    def clear(self):
        """The sequence goes on, so that numbers stay unique in the file."""
        with self.lock:
            self.records.clear()
            self.requests.clear()
            self.failures.clear()

    def listing(self):
        with self.lock:
            return json.dumps(self.records, ensure_ascii=False)

    def request(self, sequence):
        with self.lock:
            headers, body = self.requests[sequence]
        return json.dumps({"headers": headers, "body": base64.b64encode(body).decode("ascii")})

    def failed_before(self, key):
        """How often this message was failed, counting this time."""
        with self.lock:
            self.failures[key] += 1
            return self.failures[key] - 1
