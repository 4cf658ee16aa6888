"""A head is known by the one before it where that could be read in one way only; else the parser reads it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prediction_api.heads import AlikeHeads, Head, Target, own_request_id
from prediction_api.protocols.native import NativeProtocol

TARGET = Target(NativeProtocol(), "flight_delay", None, None)
RAW = (
    b"POST /models/flight_delay/predict HTTP/1.1\r\nHost: x\r\nX-Request-ID:  a-1\r\n"
    b"X-API-Key: secret\r\nContent-length: 2\r\nAccept: */*\r\n\r\n"
)


def head_of(raw=RAW):
    lines = [line.partition(b":") for line in raw.split(b"\r\n")[1:-2]]
    return Head(TARGET, {name.lower(): value.strip() for name, _, value in lines})


def test_the_same_head_is_read_with_its_body():
    alike = AlikeHeads.of(head_of(), RAW)

    assert alike.read(RAW + b"{}") == (head_of().headers, b"{}")


def test_a_length_an_id_and_a_trace_may_differ():
    traced = RAW.replace(b"Accept: */*", b"traceparent: 00-0af7-b7ad-01")
    alike = AlikeHeads.of(head_of(traced), traced)
    other = traced.replace(b"a-1", b"other:22").replace(b"th: 2", b"th: 10").replace(b"b7ad", b"c0ff")

    headers, body = alike.read(other + b"0123456789")

    assert body == b"0123456789"
    assert headers == head_of(other).headers
    assert headers[b"x-request-id"] == b"other:22"
    assert headers[b"traceparent"] == b"00-0af7-c0ff-01"


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(RAW, id="no body yet"),
        pytest.param(RAW + b"{", id="half a body"),
        pytest.param(RAW + b"{}\r\n", id="more than a body"),
        pytest.param(RAW + b"{}" + RAW + b"{}", id="two requests"),
        pytest.param(RAW[:-6], id="half a head"),
        pytest.param(b"\r\n" + RAW + b"{}", id="an empty line before"),
        pytest.param(RAW.replace(b"secret", b"Secret") + b"{}", id="another key"),
        pytest.param(RAW.replace(b"flight", b"freight") + b"{}", id="another path"),
        pytest.param(RAW.replace(b"*/*", b"text/html") + b"{}", id="another type"),
        pytest.param(RAW.replace(b"Accept: */*", b"Expect: 100-continue") + b"{}", id="another header"),
        pytest.param(RAW.replace(b"\r\nAccept", b"\r\nX: y\r\nAccept") + b"{}", id="one more header"),
        pytest.param(RAW.replace(b"a-1", b"a-1\r\nTransfer-Encoding: chunked") + b"{}", id="a header behind an id"),
        pytest.param(RAW.replace(b"a-1", b"a-1\nTransfer-Encoding: chunked") + b"{}", id="a line feed behind an id"),
        pytest.param(RAW.replace(b"a-1", b"a 1") + b"{}", id="an id with a space"),
        pytest.param(RAW.replace(b"a-1", b"") + b"{}", id="no id"),
        pytest.param(RAW.replace(b"a-1", b"a" * 129) + b"{}", id="a long id"),
        pytest.param(RAW.replace(b"h: 2", b"h: +2") + b"{}", id="a signed length"),
        pytest.param(RAW.replace(b"h: 2", b"h: 2, 2") + b"{}", id="a list of lengths"),
        pytest.param(RAW.replace(b"h: 2", b"h: 0x2") + b"{}", id="a hexadecimal length"),
        pytest.param(RAW.replace(b"h: 2", b"h: " + b"9" * 100) + b"{}", id="an endless length"),
    ],
)
def test_what_begins_in_another_way_or_is_not_one_request_is_left_to_the_parser(message):
    assert AlikeHeads.of(head_of(), RAW).read(message) is None


@given(st.binary(max_size=12), st.binary(max_size=12), st.binary(max_size=12))
def test_whatever_stands_in_place_of_a_value_is_a_plain_word_or_not_read(request_id, length, body):
    message = RAW.replace(b"a-1", request_id).replace(b"h: 2", b"h: " + length) + body
    read = AlikeHeads.of(head_of(), RAW).read(message)

    if read is not None:
        assert read[1] == body
        assert read[0] == {**head_of().headers, b"x-request-id": request_id, b"content-length": length}
        assert request_id.isascii()
        assert not set(request_id) & set(b" \t\r\n\0,;")
        assert int(length) == len(body)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\r\n\r\n", id="empty lines"),
        pytest.param(b"\r\n" + RAW, id="an empty line before"),
        pytest.param(RAW + b"\r\n", id="an empty line behind"),
        pytest.param(RAW + b"{}", id="a body behind"),
        pytest.param(RAW[:-2], id="no empty line"),
        pytest.param(RAW.replace(b"\r\n", b"\n"), id="no carriage returns"),
        pytest.param(RAW.replace(b"Host: x\r\n", b"Host: x\n"), id="a carriage return less"),
        pytest.param(RAW.replace(b"Host: x", b"Host:\r\n x"), id="folded"),
        pytest.param(RAW.replace(b"Host: x", b"Host: x\r\nHost: x"), id="twice"),
        pytest.param(RAW.replace(b"HTTP/1.1", b"HTTP/1.1\nHost: y"), id="a line feed more"),
        pytest.param(RAW.replace(b"h: 2", b"h: 2 "), id="a space behind the length"),
    ],
)
def test_no_head_is_known_by_one_that_could_be_read_in_two_ways(raw):
    assert AlikeHeads.of(head_of(), raw) is None


@pytest.mark.parametrize(
    ("headers", "request_id", "presented"),
    [
        ({}, None, b""),
        ({b"x-request-id": b"a-1", b"x-api-key": b"key"}, "a-1", b"key"),
        ({b"x-request-id": b"not plain\xff", b"authorization": b"bEARER  key "}, None, b"key"),
        ({b"authorization": b"Basic key"}, None, b""),
    ],
)
def test_a_head_tells_who_asks_and_by_which_id(headers, request_id, presented):
    assert own_request_id(headers) == request_id
    assert Head(TARGET, headers).presented == presented
