"""The web application of ``mmx serve``: endpoints, errors as JSON, and pages."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException

from mmx.errors import DataError, closest
from mmx.experiment.task_names import find_target_name
from mmx.json_object import Json
from mmx.printable import one_line
from mmx.reports.page import render_page
from mmx.tasks import Target
from mmx.verbs.predict_answers import AskedRows, OpenedModel
from mmx.verbs.predict_rows import RowAnswers
from mmx.verbs.predict_source import OpenedRows, RowSourceInUse
from mmx.verbs.serve_batches import Batcher
from mmx.verbs.serve_inputs import Input, RefusedError, RequestRow, RowReader, bound_pixels
from mmx.verbs.serve_limits import BusyError, Counts, Limits, RequestTooLargeError
from mmx.verbs.serve_threads import call_in_own_thread

JSON, FORM = "application/json", "multipart/form-data"
PATIENCE = 0.25
"""Part of a request's time after which others no longer wait for it."""
MOST_FIELDS = 1000
"""Fields and files of a form at most."""


@dataclass(frozen=True)
class ServeOptions:
    """How a model is served.

    Attributes:
        token: What clients must send; empty for none.
        hosts: Names by which clients may call; empty for any.
        most_bytes: Of a request.
        most_rows: Of a request.
        most_pixels: Width times height of a picture, or of a frame of a video.
        most_samples: Of a sound, over all channels.
        timeout: Seconds for a request.
        queue: Rows that may wait.
        batch: Rows that are answered together.
        wait: Seconds for which the first row of a batch waits for others.
    """

    token: str = ""
    hosts: frozenset[str] = frozenset()
    most_bytes: int = 20_000_000
    most_rows: int = 1000
    most_pixels: int = 50_000_000
    most_samples: int = 50_000_000
    timeout: float = 30.0
    queue: int = 1000
    batch: int = 64
    wait: float = 0.005


class Service:
    """A model that answers rows of clients.

    Args:
        opened: The model.
        options: How it is served.
    """

    def __init__(self, opened: OpenedModel, options: ServeOptions) -> None:
        self.opened, self.options = bound_pixels(opened, options.most_pixels), options
        self.reader = RowReader(self.opened, options.most_pixels, options.most_samples)
        self.counts = Counts()
        self.batcher = Batcher[RequestRow, Json](
            self.answer,
            options.batch,
            options.wait,
            options.queue,
            self.counts.add_batch,
            options.timeout * PATIENCE,
        )

    def answer(self, rows: Sequence[RequestRow]) -> list[Json]:
        """Return the answer to each row: a prediction, or the reason why there is none."""
        part = self.reader.collect(rows)
        asked = AskedRows(self.opened, source=RowSourceInUse(OpenedRows(part)))
        found: list[RowAnswers] = []
        with contextlib.suppress(DataError):  # no row can be predicted: each has its reason
            found.extend(asked.answer())
        return [each for answers in found for each in format_answers(answers)]

    def read_rows(self, body: bytes) -> list[RequestRow]:
        """Return the rows of a JSON request.

        Raises:
            RefusedError: It is not one that this model reads.
        """
        try:
            given = json.loads(body, parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as error:
            raise RefusedError("the request", f"is no JSON ({error})") from error
        rows = given.get("rows") if isinstance(given, dict) and len(given) == 1 else None
        if not isinstance(rows, list) or not rows:
            accepted = f'{{"rows": [{{"{next(iter(self.reader.inputs))}": …}}]}}'
            raise RefusedError("the request", "has no list of rows", accepted)
        if len(rows) > self.options.most_rows:
            most = f"at most {self.options.most_rows:,}"
            raise RefusedError("rows", f"has {len(rows):,} rows", most)
        return [self.reader.read(row, f"rows[{place}]") for place, row in enumerate(rows)]

    async def read_form(self, request: Request) -> RequestRow:
        """Return the row of a form: files of media, texts, cells as JSON or as ``input.column``.

        Raises:
            RefusedError: It is not one that this model reads.
        """
        given: dict[str, Any] = {}
        async with request.form(max_files=MOST_FIELDS, max_fields=MOST_FIELDS) as form:
            for key, value in form.multi_items():
                content = await value.read() if isinstance(value, UploadFile) else value
                if content:  # a field of a page that was left empty
                    self._add_field(given, key, content)
        return await call_in_own_thread(partial(self.reader.read, given, "form"))

    def _add_field(self, given: dict[str, Any], key: str, content: str | bytes) -> None:
        name, _, column = key.partition(".")
        about = self.reader.inputs.get(name)
        if about is None:
            names = ", ".join(self.reader.inputs)
            near = closest(name, self.reader.inputs)
            raise RefusedError(f"form.{one_line(key)}", "is no input", names, near)
        if about.is_file != isinstance(content, bytes):
            kind = "a file" if about.is_file else about.accepted
            raise RefusedError(f"form.{name}", "is of another kind", kind)
        if column and isinstance(given.setdefault(name, {}), dict):
            given[name][column] = content
        elif about.modality in ("tabular", "vector", "sequence"):
            try:
                given[name] = json.loads(content, parse_constant=_refuse_constant)
            except (ValueError, RecursionError) as error:
                raise RefusedError(f"form.{name}", "is no JSON", about.accepted) from error
        else:
            given[name] = content

    async def predict(self, rows: Sequence[RequestRow]) -> Json:
        """Return the answers to rows, which wait for their turn.

        Raises:
            RefusedError: The content of a row cannot be read.
        """
        answers = await self.batcher.submit(rows)
        for place, answer in enumerate(answers):
            if "prediction" not in answer:
                raise RefusedError(f"rows[{place}]", str(answer["reason"]))
        return {"answers": list(answers)}


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is no number of JSON")


def format_answers(found: RowAnswers) -> list[Json]:
    """Return the answers to rows as JSON: prediction and probabilities, or the reason."""
    columns = found.columns(text=False)
    answers: list[Json] = []
    for place in range(len(found.names)):
        if place in found.unusable:
            reason = found.unusable[place].replace(" in the table", "")
            answers.append({"reason": one_line(reason)})
            continue
        answers.append(_format_answer(columns, place, found.target))
    return answers


def _format_answer(columns: Mapping[str, Sequence[Any]], place: int, target: Target) -> Json:
    prediction: Any = columns["prediction"][place]
    if target.kind == "multilabel":
        prediction = [] if prediction == "[]" else str(prediction).split("|")
    answer: Json = {"prediction": prediction}
    if target.kind != "regression":
        answer["probabilities"] = {n: columns[f"p({n})"][place] for n in target.classes}
    return answer


def make_app(service: Service) -> Limits:
    """Return the application, inside its limits."""

    @contextlib.asynccontextmanager
    async def answer_in_turn(app: FastAPI) -> AsyncIterator[None]:
        task = asyncio.create_task(service.batcher.run())
        yield
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    app = FastAPI(
        title=f"mmx serve {service.opened.run.name}",
        description="Answers of a trained model. Content is sent, never the name of a file.",
        docs_url=None,  # its page would load scripts from elsewhere
        redoc_url=None,
        lifespan=answer_in_turn,
    )
    _add_endpoints(app, service)
    _add_pages(app, service)
    _add_errors(app)
    paths = frozenset(getattr(route, "path", "") for route in app.routes)
    options = service.options
    return Limits(
        app,
        service.counts,
        paths,
        options.most_bytes,
        options.timeout,
        options.token,
        options.hosts,
    )


REFUSALS: dict[int | str, dict[str, Any]] = {
    413: {"description": "more bytes than are read"},
    422: {"description": "not what the model reads; problems say what is accepted"},
    503: {"description": "too many rows are waiting; Retry-After says when to come again"},
    504: {"description": "no answer in time"},
}
"""Status codes of rows that are not answered, for the description of the endpoints."""


def _describe_bodies(inputs: Mapping[str, Input]) -> tuple[Json, Json]:
    """Return the JSON schemas of rows in a body, and of a form with one row."""
    row = {
        "type": "object",
        "properties": {name: each.describe() for name, each in inputs.items()},
        "additionalProperties": False,
    }
    binary, text = {"type": "string", "format": "binary"}, {"type": "string"}
    fields = {name: binary if each.is_file else text for name, each in inputs.items()}
    rows = {"type": "object", "properties": {"rows": {"type": "array", "items": row}}}
    return rows, {"type": "object", "properties": fields}


def _add_endpoints(app: FastAPI, service: Service) -> None:
    rows, form = _describe_bodies(service.reader.inputs)

    async def predict(request: Request) -> Response:
        """Answer rows, of which each has one input at least."""
        _require_type(request, JSON)
        body = await request.body()
        given = await call_in_own_thread(partial(service.read_rows, body))
        return JSONResponse(await service.predict(given))

    async def upload(request: Request) -> Response:
        """Answer one row: files of media, texts, and cells as JSON or as input.column."""
        _require_type(request, FORM)
        return JSONResponse(await service.predict([await service.read_form(request)]))

    async def health(request: Request) -> Response:
        """Say that the server answers; 503 where calls of the model do not end."""
        if service.batcher.is_stuck:
            return JSONResponse({"status": "stuck", "run": service.opened.run.name}, 503)
        return JSONResponse({"status": "ok", "run": service.opened.run.name})

    async def metrics(request: Request) -> Response:
        """Return counts in Prometheus' format."""
        return PlainTextResponse(service.counts.format(service.batcher.waiting))

    for path, call, kind, schema in (
        ("/predict", predict, JSON, rows),
        ("/predict/upload", upload, FORM, form),
    ):
        body = {"requestBody": {"required": True, "content": {kind: {"schema": schema}}}}
        app.add_api_route(path, call, methods=["POST"], openapi_extra=body, responses=REFUSALS)
    app.add_api_route("/health", health, methods=["GET"])
    app.add_api_route("/metrics", metrics, methods=["GET"])


def _require_type(request: Request, wanted: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != wanted:
        raise HTTPException(415, f"Content-Type is {given or 'missing'}; accepted: {wanted}")


def _add_pages(app: FastAPI, service: Service) -> None:
    run, target = service.opened.run.name, service.opened.trained.target
    inputs = list(service.reader.inputs.values())
    classes = ", ".join(target.classes[:12]) + (", …" if len(target.classes) > 12 else "")

    def show(template: str) -> HTMLResponse:
        page = render_page(
            template,
            title=f"{run}: try the model",
            extra="serve.js",
            run=run,
            task=find_target_name(service.opened.experiment),
            inputs=inputs,
            classes=classes or "a number",
        )
        return HTMLResponse(page)

    app.add_api_route("/", lambda: show("serve.html.jinja"), include_in_schema=False)
    app.add_api_route("/docs", lambda: show("serve_docs.html.jinja"), include_in_schema=False)


def _add_errors(app: FastAPI) -> None:
    async def refuse(request: Request, error: Exception) -> Response:
        problem = error.problem if isinstance(error, RefusedError) else {}
        return JSONResponse({"error": str(error), "problems": [problem]}, 422)

    async def send_away(request: Request, error: Exception) -> Response:
        text = f"{error}; come again later"
        return JSONResponse({"error": text}, 503, {"Retry-After": "1"})

    async def say_size(request: Request, error: Exception) -> Response:
        return JSONResponse({"error": str(error)}, 413, {"Connection": "close"})

    async def say(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        detail = error.detail if isinstance(error, HTTPException) else "the model failed"
        return JSONResponse({"error": detail}, status)

    app.add_exception_handler(RefusedError, refuse)
    app.add_exception_handler(BusyError, send_away)
    app.add_exception_handler(RequestTooLargeError, say_size)
    app.add_exception_handler(HTTPException, say)
    app.add_exception_handler(Exception, say)
