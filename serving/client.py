"""The service as a Python object, one method for each thing it can be asked.

with Client("http://localhost:8000", key="recsys_…") as service:
    answer = service.recommend(RecommendRequest(user_id="196", k=5))
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar
from urllib.parse import quote

import httpx2
from pydantic import BaseModel, ValidationError

from serving.admin_schemas import SwapAnswer, VariantName
from serving.event_schemas import EventsAnswer, NewEvent, NewEvents, UserDeleted
from serving.interest_schemas import TextBody
from serving.item_schemas import ItemAnswer, ItemBody, ItemRemoved
from serving.problem_document import Problem
from serving.schemas import (
    ModelDescription,
    RecommendAnswer,
    RecommendBatch,
    RecommendBatchAnswer,
    RecommendRequest,
    SimilarAnswer,
    Status,
)

Answer = TypeVar("Answer", bound=BaseModel)


class ServiceError(RuntimeError):
    """The service refused or failed. The message says why."""

    def __init__(self, problem: Problem, *, retry_after_s: float | None, request_id: str) -> None:
        super().__init__(f"{problem.status} {problem.title}: {problem.detail}")
        self.problem = problem
        """All that the service said."""
        self.retry_after_s = retry_after_s
        """When to ask again; None where that would not help."""
        self.request_id = request_id
        """Under which the service's log says more."""


class Client:
    """Asks a service. Threads may share it."""

    def __init__(
        self, url: str, *, key: str | None = None, timeout_s: float = 10.0, http: httpx2.Client | None = None
    ) -> None:
        """Nothing is asked yet.

        Args:
            url: Of the service, without a path.
            key: Made by `recsys keys create`, where the service asks for one.
            timeout_s: How long an answer may take.
            http: To ask by, instead of a client of one's own.
        """
        self._http = http or httpx2.Client(base_url=url, timeout=timeout_s)
        self._headers = {} if key is None else {"authorization": f"Bearer {key}"}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    def recommend(self, request: RecommendRequest) -> RecommendAnswer:
        """The k items a user will want next, best first."""
        return self._ask(RecommendAnswer, "POST", "/v1/recommend", body=request)

    def recommend_batch(self, requests: Sequence[RecommendRequest]) -> list[RecommendAnswer]:
        """Several at once, all or none."""
        batch = RecommendBatch(requests=list(requests))
        return self._ask(RecommendBatchAnswer, "POST", "/v1/recommend/batch", body=batch).answers

    def similar(self, item_id: str, *, k: int = 10) -> SimilarAnswer:
        """The items nearest to one."""
        return self._ask(SimilarAnswer, "GET", f"/v1/items/{_part(item_id)}/similar", params={"k": k})

    def add_events(self, events: Sequence[NewEvent]) -> EventsAnswer:
        """Keep what users did, all or none."""
        return self._ask(EventsAnswer, "POST", "/v1/events", body=NewEvents(events=list(events)))

    def delete_user(self, user_id: str) -> UserDeleted:
        """Forget a user."""
        return self._ask(UserDeleted, "DELETE", f"/v1/users/{_part(user_id)}")

    def interests(self, user_id: str, *, requested_at: int | None = None) -> dict[str, Any]:
        """What a user is interested in; as JSON, since its parts are the library's own (recsys.interests)."""
        params = {} if requested_at is None else {"requested_at": requested_at}
        return self._json("GET", f"/v1/users/{_part(user_id)}/interests", params=params)

    def classify(self, text: str) -> dict[str, Any]:
        """Which interests a text is about; as JSON, for the same reason."""
        return self._json("POST", "/v1/interests/classify", body=TextBody(text=text))

    def put_item(self, item_id: str, item: ItemBody) -> ItemAnswer:
        """Add an item, or replace all that is known of one."""
        return self._ask(ItemAnswer, "PUT", f"/v1/items/{_part(item_id)}", body=item)

    def remove_item(self, item_id: str) -> ItemRemoved:
        """Remove an item."""
        return self._ask(ItemRemoved, "DELETE", f"/v1/items/{_part(item_id)}")

    def model(self) -> ModelDescription:
        """What is being served."""
        return self._ask(ModelDescription, "GET", "/v1/model")

    def reload(self, variant: VariantName = VariantName.MAIN) -> SwapAnswer:
        """Let what the bundle's folder holds now take over."""
        return self._ask(SwapAnswer, "POST", "/v1/admin/reload", params={"variant": variant.value})

    def roll_back(self, variant: VariantName = VariantName.MAIN) -> SwapAnswer:
        """Let the bundle that ran before take over again."""
        return self._ask(SwapAnswer, "POST", "/v1/admin/rollback", params={"variant": variant.value})

    def healthy(self) -> Status:
        """Whether the process is alive."""
        return self._ask(Status, "GET", "/healthz")

    def ready(self) -> Status:
        """Whether requests are answered."""
        return self._ask(Status, "GET", "/readyz")

    def metrics(self) -> str:
        """What has been counted, in the text format of Prometheus."""
        return self._send("GET", "/metrics").text

    def _ask(self, answer: type[Answer], method: str, path: str, **sent: Any) -> Answer:
        return answer.model_validate_json(self._send(method, path, **sent).content)

    def _json(self, method: str, path: str, **sent: Any) -> dict[str, Any]:
        read: dict[str, Any] = self._send(method, path, **sent).json()
        return read

    def _send(
        self, method: str, path: str, *, body: BaseModel | None = None, params: Mapping[str, Any] | None = None
    ) -> httpx2.Response:
        content, headers = None, self._headers
        if body is not None:
            content = body.model_dump_json(exclude_none=True)
            headers = headers | {"content-type": "application/json"}
        response = self._http.request(method, path, content=content, params=params, headers=headers)
        if response.is_error:
            raise _error(response)
        return response


def _error(response: httpx2.Response) -> ServiceError:
    try:
        problem = Problem.model_validate_json(response.content)
    except ValidationError:  # from a proxy on the way
        problem = Problem(
            title=response.reason_phrase, status=response.status_code, detail=response.text[:200], instance=""
        )
    after = response.headers.get("retry-after", "")
    return ServiceError(
        problem,
        retry_after_s=float(after) if after.isdigit() else None,
        request_id=response.headers.get("x-request-id", ""),
    )


def _part(name: str) -> str:
    """An id as one part of a path, slashes and all."""
    return quote(name, safe="")
