"""Users, tokens and limits of the API, over a store in memory."""

import json
from pathlib import Path
from typing import Any

import pytest
from apiclient import Api

from cluster.api.limits import Limits
from cluster.users import Role


def test_an_admin_makes_users_and_tokens(api: Api) -> None:
    ann = api.client("ann", Role.ADMIN)
    made = ann.post("/v1/users", json={"name": "kim", "role": "viewer", "team": "news"})
    assert made.status_code == 201
    assert ann.post("/v1/users", json={"name": "kim", "role": "admin"}).status_code == 409
    token = ann.post("/v1/users/kim/tokens", json={"label": "laptop", "days": 1}).json()
    kim = api.anonymous(headers={"Authorization": f"Bearer {token['token']}"})
    assert kim.get("/v1/me").json() == made.json()
    listed = ann.get("/v1/users/kim/tokens")
    assert [each["label"] for each in listed.json()] == ["laptop"]
    assert token["token"] not in listed.text
    assert "digest" not in listed.text
    assert ann.patch("/v1/users/kim", json={"role": "submitter", "team": ""}).json()["role"] == "submitter"
    assert kim.get("/v1/me").json()["team"] == ""
    assert ann.patch("/v1/users/kim", json={"disabled": True}).status_code == 200
    assert kim.get("/v1/me").status_code == 401
    assert ann.delete("/v1/users/kim").status_code == 204
    assert ann.get("/v1/users/kim/tokens").status_code == 404
    assert [user["name"] for user in ann.get("/v1/users").json()] == ["ann"]
    assert ann.delete("/v1/users/ann").status_code == 409


def test_others_care_for_their_own_tokens_only(api: Api) -> None:
    kim, lee = api.client("kim", Role.REVIEWER), api.client("lee")
    assert kim.get("/v1/users").status_code == 403
    assert kim.post("/v1/users", json={"name": "x", "role": "admin"}).status_code == 403
    assert kim.patch("/v1/users/kim", json={"role": "admin"}).status_code == 403
    assert kim.get("/v1/users/lee/tokens").status_code == 403
    assert kim.post("/v1/users/lee/tokens", json={}).status_code == 403
    made = kim.post("/v1/users/kim/tokens", json={}).json()
    assert lee.delete(f"/v1/tokens/{made['id']}").status_code == 404
    again = api.anonymous(headers={"Authorization": f"Bearer {made['token']}"})
    assert again.get("/v1/me").status_code == 200
    assert kim.delete(f"/v1/tokens/{made['id']}").status_code == 204
    assert again.get("/v1/me").status_code == 401


# Guards.


@pytest.mark.parametrize("given", ["", "Bearer ", "Bearer wrong", "Basic a2ltOng=", "vf_x"])
def test_without_a_token_nothing(api: Api, given: str) -> None:
    answer = api.anonymous(headers={"Authorization": given} if given else {}).get("/v1/jobs")
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


def test_every_operation_but_a_few_takes_a_token(api: Api) -> None:
    client = api.anonymous()
    free = {("get", "/healthz"), ("get", "/readyz"), ("options", "/v1/uploads")}
    for path, methods in api.app.openapi()["paths"].items():
        for method in methods:
            place = path.replace("{job}", "0" * 26).replace("{upload_id}", "0" * 26).replace("{token_id}", "0" * 26)
            headers = {"Tus-Resumable": "1.0.0", "Upload-Length": "1", "Upload-Offset": "0"}
            answer = client.request(method, place.replace("{name}", "ann"), headers=headers)
            assert (answer.status_code == 401) == ((method, path) not in free), (method, path)


def test_so_many_requests_and_no_more(tmp_path: Path) -> None:
    now = [0.0]
    api = Api(tmp_path, limits=Limits(rate=0.5, burst=3), clock=lambda: now[0])
    kim, lee = api.client("kim"), api.client("lee")
    assert [kim.get("/v1/me").status_code for _ in range(5)] == [200, 200, 200, 429, 429]
    assert kim.get("/v1/me").headers["retry-after"] == "2"
    assert lee.get("/v1/me").status_code == 200
    now[0] += 2
    assert [kim.get("/v1/me").status_code for _ in range(2)] == [200, 429]


def test_who_tries_tokens_is_held_up(tmp_path: Path) -> None:
    now = [0.0]
    api = Api(tmp_path, limits=Limits(bad_rate=0.1, bad_burst=2), clock=lambda: now[0])
    kim, lee = api.client("kim"), api.client("lee")
    assert kim.get("/v1/me").status_code == 200
    wrong = api.anonymous(headers={"Authorization": "Bearer vf_wrong"})
    assert [wrong.get("/v1/me").status_code for _ in range(4)] == [401, 401, 429, 429]
    assert kim.get("/v1/me").status_code == 200  # who is known already, at the same address
    assert lee.get("/v1/me").status_code == 429
    now[0] += 10
    assert lee.get("/v1/me").status_code == 200
    assert wrong.get("/v1/me").status_code == 401
    assert wrong.get("/v1/me").status_code == 429


def test_bodies_have_a_bound(tmp_path: Path) -> None:
    api = Api(tmp_path, limits=Limits(body=1000, rate=1e6, burst=10**6))
    kim = api.client("kim")
    answer = kim.post("/v1/jobs", json={"source": "x" * 1000})
    assert (answer.status_code, answer.headers["content-type"]) == (413, "application/problem+json")

    def unsaid() -> Any:
        for _ in range(100):
            yield b"x" * 100

    answer = kim.post("/v1/jobs", content=unsaid(), headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_answers_protect_browsers(api: Api) -> None:
    for answer in (api.anonymous().get("/healthz"), api.anonymous().get("/v1/me"), api.anonymous().get("/nowhere")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in answer.headers


def test_requests_are_logged_with_their_user_and_without_secrets(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    kim = api.client("kim")
    with caplog.at_level("INFO"):
        kim.get("/v1/jobs", params={"q": "a secret film"})
    (record,) = [each for each in caplog.records if each.name == "cluster.api.limits"]
    facts = vars(record)
    assert (facts["user"], facts["method"], facts["path"], facts["status"]) == ("kim", "GET", "/v1/jobs", 200)
    assert "secret film" not in json.dumps(facts, default=str)
    assert "vf_" not in json.dumps(facts, default=str)


def test_a_method_that_isnt_there_is_told_with_those_that_are(api: Api) -> None:
    assert api.anonymous().put(f"/v1/jobs/{'0' * 26}").headers["allow"] == "DELETE, GET, PATCH"
    assert api.anonymous().delete("/v1/jobs").headers["allow"] == "GET, POST"


def test_errors_of_routing_are_problems(api: Api) -> None:
    for answer, status in ((api.anonymous().get("/v2/x"), 404), (api.anonymous().put("/healthz"), 405)):
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
