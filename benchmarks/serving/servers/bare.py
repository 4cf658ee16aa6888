"""The limit: decodes the request's JSON and encodes an answer of the same shape, with nothing in between."""

from __future__ import annotations

import argparse

import orjson
import uvicorn

_PREDICTION = {
    "probabilities": {"no": 0.9241418199787566, "yes": 0.07585818002124345},
    "label": "no",
    "confidence": 0.9241418199787566,
    "abstained": False,
    "abstain_reason": None,
}


async def app(_scope, receive, send):
    body = b""
    more = True
    while more:
        message = await receive()
        body += message["body"]
        more = message["more_body"]
    document = orjson.loads(body)
    rows = document.get("rows") or document["data"]
    answer = orjson.dumps(
        {"model": "flight_delay", "version": "1", "request_id": "1", "predictions": [_PREDICTION] * len(rows)}
    )
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    uvicorn.run(
        app,
        port=parser.parse_args().port,
        http="httptools",
        loop="uvloop",
        lifespan="off",
        log_level="warning",
        access_log=False,
        server_header=False,
    )
