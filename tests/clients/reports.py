"""Stand-ins for the organization reports of OpenAI and Anthropic, written from their public descriptions: they refuse what those
refuse, and page as those page.

OpenAI: `GET /v1/organization/costs` (days alone, 1 to 180 a page, seven by default) and `/v1/organization/usage/{completions,
embeddings}` (1 to 31 days a page); an admin key as bearer, 401 for a key it doesn't know, 403 for one that makes calls; amounts are JSON
numbers of dollars. Anthropic: `GET /v1/organizations/cost_report` and `/v1/organizations/usage_report/messages` (1 to 31 days a page);
`x-api-key` and `anthropic-version`; amounts are decimal texts of cents.
"""

import datetime
import decimal
import http.server
import json
import threading
import urllib.parse

DAY = datetime.timedelta(days=1)


class Refusal(Exception):
    def __init__(self, status, message, headers=None):
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


class Reports:
    """One organization at one provider. `rows` are what it tells: by path, by day, a list of results."""

    def __init__(self):
        reports = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, headers, body = reports.answer(self.path, self.headers)
                self.send_response(status)
                for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                """Quiet: a test says what it needs."""

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        self.rows = {}
        self.asked = []
        self.refused = []
        self.answer_next = []
        # Smaller than what is asked for, as a busy provider may choose.
        self.page_days_max = 400
        self.lock = threading.Lock()
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()

    def answer(self, target, headers):
        with self.lock:
            split = urllib.parse.urlsplit(target)
            query = urllib.parse.parse_qs(split.query, keep_blank_values=True)
            self.asked.append((split.path, query))
            if self.answer_next:
                return self.answer_next.pop(0)
            try:
                self.authenticate(headers)
                days, results = self.days(split.path, query)
                page, following = self.page(days, query)
                body = {"data": [self.bucket(day, results(day)) for day in page], "has_more": following is not None, "next_page": following}
                return 200, {}, json.dumps({**self.envelope, **body}, default=str).encode()
            except Refusal as refusal:
                self.refused.append((refusal.status, refusal.message))
                return refusal.status, refusal.headers, json.dumps(self.error(refusal)).encode()

    def page(self, days, query):
        limit = self.one(query, "limit", str(self.limit_usual))
        if not limit.isdigit() or not 1 <= int(limit) <= self.limit_max:
            raise Refusal(400, f"limit must be between 1 and {self.limit_max}")
        size = min(int(limit), self.page_days_max)
        start = 0
        if "page" in query:
            cursor = self.one(query, "page")
            if not cursor.startswith("page_=/") or not cursor[7:].isdigit():
                raise Refusal(400, "invalid page")
            start = int(cursor[7:])
        # With characters that a careless client forgets to escape.
        following = f"page_=/{start + size}" if start + size < len(days) else None
        return days[start : start + size], following

    @staticmethod
    def one(query, name, default=None):
        values = query.get(name)
        if values is None:
            if default is None:
                raise Refusal(400, f"missing required parameter {name}")
            return default
        if len(values) != 1:
            raise Refusal(400, f"{name} stands twice")
        return values[0]

    @staticmethod
    def known(query, names):
        for name in query:
            if name not in names:
                raise Refusal(400, f"unknown parameter {name}")

    @staticmethod
    def only(values, allowed, what):
        for value in values:
            if value not in allowed:
                raise Refusal(400, f"{what} must be one of {sorted(allowed)}")

    @staticmethod
    def between(start, end):
        if end <= start:
            raise Refusal(400, "the end must be after the start")
        start = start.replace(hour=0, minute=0, second=0, microsecond=0)
        days = []
        while start < end:
            days.append(start)
            start += DAY
        return days

    def told(self, path, day):
        return self.rows.get(path, {}).get(day.date().isoformat(), [])


class OpenAiReports(Reports):
    key = "sk-admin-canary-0123456789"
    envelope = {"object": "page"}
    limit_usual = 7
    groups = {
        "/v1/organization/costs": {"project_id", "line_item", "api_key_id"},
        "/v1/organization/usage/completions": {"project_id", "user_id", "api_key_id", "model", "batch", "service_tier"},
        "/v1/organization/usage/embeddings": {"project_id", "user_id", "api_key_id", "model"},
    }

    def authenticate(self, headers):
        sent = headers.get("authorization", "")
        if not sent.startswith("Bearer "):
            raise Refusal(401, "You didn't provide an API key.")
        if sent.startswith("Bearer sk-admin-") and sent != f"Bearer {self.key}":
            raise Refusal(401, f"Incorrect API key provided: {sent[7:]}.")
        if sent != f"Bearer {self.key}":
            raise Refusal(403, "You have insufficient permissions for this operation. Missing scopes: api.usage.read.")

    @staticmethod
    def error(refusal):
        return {"error": {"message": refusal.message, "type": "invalid_request_error", "param": None, "code": None}}

    def days(self, path, query):
        if path not in self.groups:
            raise Refusal(404, f"Invalid URL (GET {path})")
        self.known(query, {"start_time", "end_time", "bucket_width", "group_by", "limit", "page", "project_ids"})
        self.only(query.get("group_by", []), self.groups[path], "group_by")
        is_costs = path.endswith("/costs")
        self.only([self.one(query, "bucket_width", "1d")], {"1d"} if is_costs else {"1m", "1h", "1d"}, "bucket_width")
        self.limit_max = 180 if is_costs else 31

        def instant(name):
            text = self.one(query, name)
            if not text.isdigit():
                raise Refusal(400, f"{name} must be an integer")
            return datetime.datetime.fromtimestamp(int(text), datetime.timezone.utc)

        groups, projects = query.get("group_by", []), query.get("project_ids")

        def results(day):
            rows = [row for row in self.told(path, day) if projects is None or row.get("project_id") in projects]
            # What is not grouped by is not told.
            return [{**row, **{name: None for name in self.groups[path] - set(groups) if name in row}} for row in rows]

        return self.between(instant("start_time"), instant("end_time")), results

    @staticmethod
    def bucket(day, results):
        start = int(day.timestamp())
        return {"object": "bucket", "start_time": start, "end_time": start + 86400, "results": results}

    def charge(self, day, line_item, dollars, project=None):
        rows = self.rows.setdefault("/v1/organization/costs", {}).setdefault(str(day), [])
        # A float, as theirs are.
        amount = {"value": float(dollars), "currency": "usd"}
        rows.append({"object": "organization.costs.result", "amount": amount, "line_item": line_item, "project_id": project})

    def use(self, day, model, requests, input_tokens, output_tokens, cached=0, project=None):
        rows = self.rows.setdefault("/v1/organization/usage/completions", {}).setdefault(str(day), [])
        row = {"object": "organization.usage.completions.result", "input_tokens": input_tokens, "output_tokens": output_tokens}
        row |= {"input_cached_tokens": cached, "num_model_requests": requests, "model": model, "batch": False, "service_tier": "default"}
        rows.append({**row, "project_id": project})


class AnthropicReports(Reports):
    key = "sk-ant-admin01-canary-0123456789"
    envelope = {}
    limit_usual, limit_max = 7, 31
    groups = {
        "/v1/organizations/cost_report": {"workspace_id", "description"},
        "/v1/organizations/usage_report/messages": {"api_key_id", "workspace_id", "model", "service_tier", "context_window", "inference_geo"},
    }

    def authenticate(self, headers):
        if not headers.get("anthropic-version"):
            raise Refusal(400, "anthropic-version: header is required")
        sent = headers.get("x-api-key", "")
        if sent and not sent.startswith("sk-ant-admin"):
            raise Refusal(403, "Admin API keys are required for this endpoint.")
        if sent != self.key:
            raise Refusal(401, "invalid x-api-key")

    @staticmethod
    def error(refusal):
        kind = {401: "authentication_error", 403: "permission_error", 404: "not_found_error"}.get(refusal.status, "invalid_request_error")
        return {"type": "error", "error": {"type": kind, "message": refusal.message}}

    def days(self, path, query):
        if path not in self.groups:
            raise Refusal(404, "Not found")
        is_costs = path.endswith("/cost_report")
        known = {"starting_at", "ending_at", "bucket_width", "group_by[]", "limit", "page"}
        self.known(query, known if is_costs else known | {"workspace_ids[]", "models[]", "service_tiers[]", "api_key_ids[]"})
        self.only(query.get("group_by[]", []), self.groups[path], "group_by")
        self.only([self.one(query, "bucket_width", "1d")], {"1d"} if is_costs else {"1m", "1h", "1d"}, "bucket_width")

        def instant(name):
            try:
                return datetime.datetime.strptime(self.one(query, name), "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=datetime.timezone.utc)
            except ValueError:
                raise Refusal(400, f"{name}: must be an RFC 3339 timestamp") from None

        return self.between(instant("starting_at"), instant("ending_at")), lambda day: self.told(path, day)

    @staticmethod
    def bucket(day, results):
        return {"starting_at": f"{day:%Y-%m-%dT%H:%M:%SZ}", "ending_at": f"{day + DAY:%Y-%m-%dT%H:%M:%SZ}", "results": results}

    def charge(self, day, model, dollars):
        rows = self.rows.setdefault("/v1/organizations/cost_report", {}).setdefault(str(day), [])
        cents = format(decimal.Decimal(dollars) * 100, "f")
        row = {"currency": "USD", "amount": cents, "workspace_id": None, "description": f"{model} Usage - Input Tokens", "cost_type": "tokens"}
        rows.append({**row, "context_window": "0-200k", "model": model, "service_tier": "standard", "token_type": "uncached_input_tokens"})


def busy(seconds):
    """What a provider says to whoever asks too much."""
    body = json.dumps({"error": {"message": "Rate limit reached", "type": "requests"}}).encode()
    return 429, {"retry-after": str(seconds)}, body
