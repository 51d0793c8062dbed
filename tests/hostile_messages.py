"""Messages that are too deep, too large, or hardly JSON."""

import json


def call(arguments: bytes, tool: bytes = b"run_list", number: bytes = b"1") -> bytes:
    """A call of ``tool`` with these arguments, as they are."""
    begin = b'{"jsonrpc":"2.0","id":' + number + b',"method":"tools/call","params":{"name":"' + tool
    return begin + b'","arguments":' + arguments + b"}}"


def nested(opening: bytes, closing: bytes, depth: int, inmost: bytes = b"") -> bytes:
    return opening * depth + inmost + closing * depth


def checked(code: str) -> bytes:
    """A call that has code read without running it."""
    return call(json.dumps({"code": code}).encode(), b"strategy_validate")


#: What an HTTP server may refuse as too large and a client on stdio may send.
LARGE = {"10 MB of text": call(b'{"strategy":"' + b"x" * 10_000_000 + b'"}')}

MESSAGES = {
    "lists 100,000 deep": call(b'{"limit":' + nested(b"[", b"]", 100_000) + b"}"),
    "objects 100,000 deep": call(b'{"limit":' + nested(b'{"a":', b"}", 100_000, b"1") + b"}"),
    "lists 190 deep": call(b'{"limit":' + nested(b"[", b"]", 190) + b"}"),
    "lists 180 deep where anything goes": call(
        b'{"cells":[{"x":' + nested(b"[", b"]", 180) + b"}]}", b"backtest_batch"
    ),
    "a deep id": call(b"{}", number=nested(b"[", b"]", 1000)),
    "deep metadata": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"_meta":'
    + nested(b'{"a":', b"}", 150, b"1")
    + b',"name":"run_list","arguments":{}}}',
    "code in parentheses": checked("x = " + "(" * 50_000 + ")" * 50_000),
    "code of signs": checked("x = " + "-" * 100_000 + "1"),
    "code of sums": checked("x = 1" + "+1" * 200_000),
    "code of attributes": checked("x = a" + ".b" * 100_000),
    "code of branches": checked("if a: pass\n" + "elif a: pass\n" * 50_000),
    "code of blocks": checked("\n".join(" " * n + "if 1:" for n in range(300)) + "\n" + " " * 300 + "pass"),
    "long code": checked("x = 1\n" * 400_000),
    "3 MB of text": call(b'{"strategy":"' + b"x" * 3_000_000 + b'"}'),
    "a long list": call(b'{"returns":[' + b",".join([b"0.01"] * 200_000) + b"]}", b"analyze_results"),
    "a wrong list": call(b'{"run_ids":[' + b",".join([b"1"] * 200_000) + b"]}", b"run_compare"),
    "a long list of ids": call(b'{"run_ids":[' + b",".join([b'"a"'] * 200_000) + b"]}", b"run_compare"),
    "many names": call(
        b'{"prices":{' + b",".join(b'"%d":[]' % n for n in range(60_000)) + b"}}", b"correlation_matrix"
    ),
    "many unknown arguments": call(b"{" + b",".join(b'"x%d":1' % n for n in range(50_000)) + b"}"),
    "a long name of a tool": call(b"{}", b"x" * 1_000_000),
    "a long method": b'{"jsonrpc":"2.0","id":1,"method":"' + b"x" * 1_000_000 + b'"}',
    "a long id": call(b"{}", number=b'"' + b"x" * 1_000_000 + b'"'),
    "1e400": call(b'{"limit":1e400}'),
    "-1e400": call(b'{"settings":{"fee":-1e400},"strategy":"TrendFollowing"}', b"optimize"),
    "1e400 as id": call(b"{}", number=b"1e400"),
    "1e400 as progress token": call(b"{}").replace(b'"name"', b'"_meta":{"progressToken":1e400},"name"'),
    "10**5000": call(b'{"limit":1' + b"0" * 5000 + b"}"),
    "10**4000": call(b'{"limit":1' + b"0" * 4000 + b"}"),
    "10**4000 unknown": call(b'{"x":1' + b"0" * 4000 + b"}"),
    "10**4000 as id": call(b"{}", number=b"1" + b"0" * 4000),
    "many digits": call(b'{"limit":0.' + b"1" * 1_000_000 + b"}"),
    "NaN": call(b'{"limit":NaN}'),
    "NaN unknown": call(b'{"x":NaN}'),
    "Infinity": call(b'{"returns":[Infinity,-Infinity,NaN]}', b"analyze_results"),
    "one argument twice": call(b'{"limit":1,"limit":2}'),
    "one tool twice": call(b"{}").replace(b'"name":"run_list"', b'"name":"run_list","name":"strategy_list"'),
    "no UTF-8": call(b'{"strategy":"\xff\xfe"}'),
    "overlong UTF-8": call(b'{"strategy":"\xc0\xaf"}'),
    "half a pair": call(b'{"strategy":"\\ud800"}'),
    "half a pair as name": call(b'{"\\ud800":1}'),
    "half a pair as tool": call(b"{}", b"\\udfff"),
    "half a pair as method": b'{"jsonrpc":"2.0","id":1,"method":"\\ud800"}',
    "half a pair as id": call(b"{}", number=b'"\\ud800"'),
    "half a pair in code": call(b'{"name":"A","code":"x=\'\\ud800\'"}', b"strategy_write"),
    "NUL": call(b'{"strategy":"a\\u0000b"}'),
    "a batch": b"[" + b",".join([call(b"{}")] * 1000) + b"]",
    "an empty batch": b"[]",
    "a number": b"1e400",
    "null": b"null",
    "nothing": b"",
    "a byte order mark": b"\xef\xbb\xbf" + call(b"{}"),
    "UTF-16": call(b"{}").decode().encode("utf-16-le"),
    "half a message": call(b"{}")[:-1],
    "two messages": call(b"{}") + call(b"{}"),
    "no parameters": b'{"jsonrpc":"2.0","id":1,"method":"tools/call"}',
    "a list of parameters": b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}',
    "a list of arguments": call(b"[1]"),
    "arguments that are text": call(b'"x"'),
}  # fmt: skip
